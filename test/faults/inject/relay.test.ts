/**
 * Every errno that the manual has for every call of a relay at work. Whatever a call answers: no client is served twice,
 * no stream that was cut off looks whole, to the client or to the target, others are not disturbed, and what has moved no
 * byte is kept.
 */
import type { Fate, Rule } from "./cases.js";
import { manual } from "./manual.js";
import { RelayLane } from "./relay-lane.js";
import { tryAll } from "./suite.js";

/** Nothing was moved, and it is tried again. */
const unlessShort = (errno: string): Fate => (["EINTR", "ENOBUFS", "ENOMEM"].includes(errno) ? "kept" : "ended");
const without = (errors: readonly string[], ...names: string[]) => errors.filter((each) => !names.includes(each));

const rules: Rule[] = [
  { site: "socket", errors: manual.socket },
  { site: "connect", errors: manual.connectTcp },
  { site: "getsockopt_error", errors: manual.socketOption },
  // A client or target that cannot be watched.
  { site: "epoll_ctl_add", errors: manual.epollAdd, fate: "ended" },
  { site: "epoll_ctl_mod", errors: manual.epollModify, fate: "ended" },
  { site: "epoll_ctl_del", errors: manual.epollDelete },
  { site: "epoll_wait", errors: ["EINTR"], once: ["EINTR"] },
  { site: "epoll_pwait2", errors: ["EINTR"], once: ["EINTR"] },
  // EAGAIN promises an event, which epoll(7) has only where it was true.
  { site: "recv", errors: without(manual.receiveTcp, "EAGAIN"), fate: unlessShort, once: ["EINTR"] },
  // Where there is no pipe.
  {
    site: "recv_peek",
    errors: without(manual.receiveTcp, "EAGAIN"),
    fate: unlessShort,
    once: ["EINTR"],
    beside: { site: "pipe2", errno: "EMFILE", pattern: { first: 1, every: 1 } },
  },
  { site: "send", errors: without(manual.sendTcp, "EAGAIN"), fate: unlessShort, once: ["EINTR"] },
  // Once: the second call is for a target, which has a part of the question by then.
  { site: "splice", errors: without(manual.splice, "EAGAIN"), fate: unlessShort, once: ["EINVAL"] },
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
  // ENOTCONN tells of a reset, which has an event of its own.
  { site: "shutdown", errors: without(manual.shutdown, "ENOTCONN"), fate: "ended" },
  { site: "setsockopt", errors: manual.socketOption },
  { site: "setsockopt_linger", errors: manual.socketOption },
  { site: "getsockopt_linger", errors: manual.socketOption },
  // FIONBIO: what blocks would block all.
  { site: "ioctl", errors: manual.ioctl, fate: "ended", once: ["EINVAL"] },
  { site: "getpeername", errors: manual.getpeername },
  { site: "getsockname", errors: manual.getsockname },
  { site: "recvmmsg", errors: manual.receiveUnix, once: ["EAGAIN", "EINTR"] },
  // Told that the door is gone it waits for the channel's end, which a door that is there leaves to another instance.
  {
    site: "sendmsg",
    errors: without(manual.sendUnix, "ECONNRESET", "ENOTCONN", "EPIPE"),
    once: ["EAGAIN", "EINTR"],
  },
  { site: "close", errors: manual.close },
];

tryAll("relay", rules, (folder, library) => new RelayLane(folder, library));
