/**
 * Every errno that the manual has for every call of a relay at work. Whatever a call answers: no client is served twice,
 * a stream that was cut off does not look whole, others are not disturbed, and what has moved no byte is kept.
 */
import type { Fate, Rule } from "./cases.js";
import { manual } from "./manual.js";
import { RelayLane } from "./relay-lane.js";
import { tryAll } from "./suite.js";

/** Nothing was moved, and it is tried again. */
const shortage = (errno: string): Fate => (["EINTR", "ENOBUFS", "ENOMEM"].includes(errno) ? "kept" : "ended");
/** EAGAIN promises an event, which epoll(7) has only where it was true. */
const without = (errors: readonly string[], ...names: string[]) => errors.filter((each) => !names.includes(each));

const rules: Rule[] = [
  { site: "socket", errors: manual.socket },
  { site: "connect", errors: manual.connectTcp },
  { site: "getsockopt_error", errors: manual.socketOption },
  { site: "epoll_ctl_add", errors: manual.epollAdd, fate: "ended" },
  { site: "epoll_ctl_mod", errors: manual.epollModify, fate: "ended" },
  { site: "epoll_ctl_del", errors: manual.epollDelete },
  { site: "recv", errors: without(manual.receiveTcp, "EAGAIN"), fate: shortage, once: ["EINTR"] },
  { site: "send", errors: without(manual.sendTcp, "EAGAIN"), fate: shortage, once: ["EINTR"] },
  { site: "splice", errors: without(manual.splice, "EAGAIN"), fate: shortage, once: ["EINTR"] },
  { site: "pipe2", errors: manual.pipe },
  { site: "fcntl_pipe_size", errors: manual.pipeSize },
  // What was read and not sent, and cannot be put aside, is lost.
  {
    site: "write",
    errors: without(manual.write, "EAGAIN"),
    fate: "ended",
    once: ["EINTR"],
    beside: { site: "send", errno: "ENOBUFS", pattern: { first: 1, every: 1 } },
  },
  { site: "shutdown", errors: manual.shutdown },
  { site: "setsockopt", errors: manual.socketOption },
  {
    site: "setsockopt_linger",
    errors: manual.socketOption,
    fate: "ended",
    beside: { site: "splice", errno: "EPIPE", pattern: { first: 1, every: 1 } },
  },
  { site: "ioctl", errors: manual.ioctl },
  { site: "getpeername", errors: manual.getpeername },
  { site: "getsockname", errors: manual.getsockname },
  { site: "accept4", errors: manual.accept, once: ["EAGAIN", "ECONNABORTED", "EINTR"] },
  { site: "recvmmsg", errors: manual.receiveUnix, once: ["EAGAIN", "EINTR"] },
  { site: "sendmsg", errors: manual.sendUnix, once: ["EAGAIN", "EINTR"] },
  { site: "close", errors: manual.close },
];

tryAll("relay", rules, (folder, library) => new RelayLane(folder, library));
