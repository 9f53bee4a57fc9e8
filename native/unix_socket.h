#ifndef SNI_HANDOFF_UNIX_SOCKET_H
#define SNI_HANDOFF_UNIX_SOCKET_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

/*
 * Unix sockets, unix(7). An address is a path, or an abstract name written with a leading "@". Paths longer than
 * sun_path (107 bytes) are reached through /proc/self/fd of their folder. `type` is SOCK_SEQPACKET, SOCK_STREAM or
 * SOCK_DGRAM.
 * Functions return -1, set errno, and have `*call` name the call that failed. All descriptors are close-on-exec and,
 * unless said otherwise, non-blocking; the caller closes what is returned.
 */

struct unix_listen_options {
  int backlog;
  int mode; /* permission bits of the path; -1: what umask leaves */
  uid_t uid; /* owner and group of the path; -1: as created */
  gid_t gid;
};

/*
 * Binds, and listens if the type has connections. The path appears with its mode at once. An existing path is
 * EADDRINUSE and is left alone. The caller removes the path; after a failure there is none.
 */
int unix_listen(const char *address, int type, const struct unix_listen_options *options, const char **call);

/*
 * Connects. EAGAIN: the listener's backlog is full, and no event will tell when it is not. `credentials`: SO_PASSCRED,
 * so that every message comes with its sender's. `refuse_descriptors`: no SO_PASSRIGHTS (Linux 6.16; nothing happens
 * where it is missing), so that the peer's sendmsg(2) with descriptors fails with EPERM.
 */
int unix_connect(const char *address, int type, bool credentials, bool refuse_descriptors, const char **call);

/*
 * Connects a datagram socket again, to whoever is bound to the address now. Returns 0 or the errno; after ECONNREFUSED
 * or ENOENT it is still connected to whom it was.
 */
int unix_reconnect(int fd, const char *address);

/* accept4(2). EAGAIN: none waits. */
int unix_accept(int listener);

/* socketpair(2). */
int unix_pair(int type, int out[2]);

/*
 * SO_PASSCRED: whether messages that arrive carry their sender's credentials. The kernel then adds its own to what this
 * socket sends, too, and counts references for both.
 */
int unix_ask_credentials(int fd, bool on);

/* SO_PEERCRED. */
int unix_peer_credentials(int fd, struct ucred *out);

struct unix_description {
  int type; /* SOCK_STREAM, SOCK_SEQPACKET or SOCK_DGRAM */
  bool listening;
  char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1]; /* "@name" if abstract, "" if unnamed */
  size_t path_length;                                         /* an abstract name may contain NUL */
};

/* 1 and `out`, or 0 if `fd` is no unix socket; -1 with errno if it is not open. */
int unix_describe(int fd, struct unix_description *out);

#endif
