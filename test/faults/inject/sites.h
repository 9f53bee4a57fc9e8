#ifndef FAULT_SITES_H
#define FAULT_SITES_H

/* What can be made to fail: a call, and where one call does several things, which of them. inject.ts reads this list. */
#define FAULT_SITES(X)                                                                                           \
  X(accept4) X(recv) X(recv_peek) X(recvmsg) X(recvmmsg) X(send) X(sendmsg) X(sendmmsg)                          \
  X(epoll_ctl_add) X(epoll_ctl_mod) X(epoll_ctl_del) X(epoll_wait) X(epoll_pwait2) X(epoll_create1)              \
  X(getsockopt) X(getsockopt_tcp_info) X(getsockopt_linger) X(getsockopt_peercred) X(getsockopt_error)           \
  X(setsockopt) X(setsockopt_linger) X(setsockopt_low_water) X(setsockopt_passcred)                              \
  X(socket) X(socketpair) X(bind) X(listen) X(connect) X(shutdown) X(getsockname) X(getpeername)                 \
  X(fcntl) X(fcntl_dupfd) X(fcntl_pipe_size) X(ioctl) X(ioctl_inq) X(dup2) X(close) X(pipe2) X(splice) X(write)  \
  X(poll) X(flock)

#endif
