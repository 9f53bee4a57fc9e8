{
  "targets": [
    {
      "target_name": "sni_handoff",
      "sources": [
        "addon.c",
        "addon_loop.c",
        "addon_privilege.c",
        "addon_relay.c",
        "addon_watch.c",
        "arguments.c",
        "clock.c",
        "closer.c",
        "datagram.c",
        "descriptor.c",
        "epoll_set.c",
        "errno_name.c",
        "landlock.c",
        "messages.c",
        "privilege.c",
        "splicer.c",
        "tcp_accept.c",
        "tcp_address.c",
        "tcp_dial.c",
        "tcp_listen.c",
        "tcp_state.c",
        "unix_socket.c"
      ],
      "defines": ["NAPI_VERSION=9", "_GNU_SOURCE"],
      "cflags": ["-O2", "-Wall", "-Wextra", "-Werror", "-std=gnu11", "-fvisibility=hidden"],
      "cflags!": ["-Wno-unused-parameter", "-O3"],
      "ldflags": ["-Wl,-z,nodelete"]
    }
  ]
}
