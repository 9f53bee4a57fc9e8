/**
 * What calls may answer: "ERRORS" of their pages in section 2 (man-pages 6.03), and of unix(7), tcp(7) and ip(7) where
 * those add to it. EWOULDBLOCK is EAGAIN.
 */

const accept = [
  ...["EAGAIN", "EBADF", "ECONNABORTED", "EFAULT", "EINTR", "EINVAL", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"],
  ...["ENOTSOCK", "EOPNOTSUPP", "EPERM", "EPROTO", "ENOSR", "ESOCKTNOSUPPORT", "EPROTONOSUPPORT", "ETIMEDOUT"],
];

const send = [
  ...["EACCES", "EAGAIN", "EALREADY", "EBADF", "ECONNRESET", "EDESTADDRREQ", "EFAULT", "EINTR", "EINVAL", "EISCONN"],
  ...["EMSGSIZE", "ENOBUFS", "ENOMEM", "ENOTCONN", "ENOTSOCK", "EOPNOTSUPP", "EPIPE"],
];

const receive = [...["EAGAIN", "EBADF", "ECONNREFUSED", "EFAULT", "EINTR", "EINVAL", "ENOMEM", "ENOTCONN", "ENOTSOCK"]];

const connect = [
  ...["EACCES", "EPERM", "EADDRINUSE", "EADDRNOTAVAIL", "EAFNOSUPPORT", "EAGAIN", "EALREADY", "EBADF"],
  ...["ECONNREFUSED", "EFAULT", "EINPROGRESS", "EINTR", "EISCONN", "ENETUNREACH", "ENOTSOCK", "EPROTOTYPE"],
  "ETIMEDOUT",
];

const socketOption = ["EBADF", "EFAULT", "EINVAL", "ENOPROTOOPT", "ENOTSOCK"];

export const manual = {
  accept,
  /** Of TCP also "already-pending network errors on the new socket": accept(2), "Error handling". */
  acceptTcp: [...accept, "ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH", "ENETUNREACH"],
  send,
  sendTcp: [...send, "ETIMEDOUT", "EHOSTUNREACH"],
  /** With descriptors, to a unix socket. */
  sendUnix: [...send, "ECONNREFUSED", "EPERM", "ESRCH", "ETOOMANYREFS"],
  receive,
  receiveTcp: [...receive, "ECONNRESET", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH"],
  receiveUnix: [...receive, "ECONNRESET", "EOPNOTSUPP", "EPIPE"],
  epollAdd: ["EBADF", "EEXIST", "EINVAL", "ELOOP", "ENOMEM", "ENOSPC", "EPERM"],
  epollModify: ["EBADF", "EINVAL", "ENOENT", "ENOMEM"],
  epollDelete: ["EBADF", "EINVAL", "ENOENT", "ENOMEM"],
  epollWait: ["EBADF", "EFAULT", "EINTR", "EINVAL"],
  epollCreate: ["EINVAL", "EMFILE", "ENFILE", "ENOMEM"],
  socketOption,
  shutdown: ["EBADF", "EINVAL", "ENOTCONN", "ENOTSOCK"],
  socket: ["EACCES", "EAFNOSUPPORT", "EINVAL", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPROTONOSUPPORT"],
  connect,
  connectTcp: [...connect, "EHOSTUNREACH"],
  connectUnix: [...connect, "ENOENT", "ENOMEM", "ESOCKTNOSUPPORT"],
  bind: [
    ...["EACCES", "EADDRINUSE", "EBADF", "EINVAL", "ENOTSOCK", "EADDRNOTAVAIL", "EFAULT", "ELOOP", "ENAMETOOLONG"],
    ...["ENOENT", "ENOMEM", "ENOTDIR", "EROFS"],
  ],
  listen: ["EADDRINUSE", "EBADF", "ENOTSOCK", "EOPNOTSUPP"],
  getsockname: ["EBADF", "EFAULT", "EINVAL", "ENOBUFS", "ENOTSOCK"],
  getpeername: ["EBADF", "EFAULT", "EINVAL", "ENOBUFS", "ENOTCONN", "ENOTSOCK"],
  duplicate: ["EBADF", "EINVAL", "EMFILE"],
  pipeSize: ["EBADF", "EBUSY", "EINVAL", "EPERM"],
  ioctl: ["EBADF", "EFAULT", "EINVAL", "ENOTTY"],
  flock: ["EBADF", "EINTR", "EINVAL", "ENOLCK", "EWOULDBLOCK"],
  /** And EIO of write(2)'s delayed errors. */
  close: ["EBADF", "EINTR", "EIO", "ENOSPC", "EDQUOT"],
  pipe: ["EFAULT", "EINVAL", "EMFILE", "ENFILE", "ENOPKG"],
  splice: ["EAGAIN", "EBADF", "EINVAL", "ENOMEM", "ESPIPE", "EPIPE", "ECONNRESET", "ETIMEDOUT", "EHOSTUNREACH"],
  write: [
    "EAGAIN",
    "EBADF",
    "EDESTADDRREQ",
    "EDQUOT",
    "EFAULT",
    "EFBIG",
    "EINTR",
    "EINVAL",
    "EIO",
    "ENOSPC",
    "EPERM",
    "EPIPE",
  ],
  poll: ["EFAULT", "EINTR", "EINVAL", "ENOMEM"],
} as const satisfies Record<string, readonly string[]>;
