/**
 * Every errno that the manual has for every call of a door at work. Whatever a call answers: no client is served twice or
 * by another, others are not disturbed, nothing stays open, no worker dies or spins, and the log says it once.
 */
import type { Fate, Rule } from "./cases.js";
import { DoorLane } from "./door-lane.js";
import { manual } from "./manual.js";
import { tryAll } from "./suite.js";

const unlessAgain =
  (...again: string[]) =>
  (errno: string): Fate =>
    again.includes(errno) ? "kept" : "ended";

/** What only a defect of the door itself can bring: it ends that one connection. */
const bugs = ["EBADF", "EFAULT", "EINVAL", "ENOTSOCK", "EOPNOTSUPP"];
const unlessBug = (errno: string): Fate => (bugs.includes(errno) ? "ended" : "kept");

const rules: Rule[] = [
  { site: "accept4", errors: manual.acceptTcp, once: ["EAGAIN"] },
  // What the kernel says of a connection: without that it cannot be told whether it is whole.
  { site: "getsockopt_tcp_info", errors: manual.socketOption, fate: "ended" },
  { site: "ioctl_inq", errors: manual.ioctl, fate: "ended" },
  { site: "getsockopt_linger", errors: manual.socketOption },
  { site: "getsockopt_peercred", errors: manual.socketOption },
  // Set back, or the receiver would be woken too late: else it is not handed over.
  { site: "setsockopt_low_water", errors: manual.socketOption, fate: "ended" },
  { site: "setsockopt_linger", errors: manual.socketOption },
  { site: "setsockopt_passcred", errors: manual.socketOption },
  { site: "recv_peek", errors: manual.receiveTcp, fate: unlessAgain("EAGAIN", "EINTR"), once: ["EAGAIN", "EINTR"] },
  { site: "recv", errors: manual.receiveTcp, fate: unlessBug, once: ["EAGAIN", "EINTR"] },
  { site: "send", errors: manual.sendTcp, fate: unlessBug },
  { site: "shutdown", errors: manual.shutdown, fate: unlessBug },
  { site: "sendmmsg", errors: manual.sendUnix, once: ["EINTR"] },
  { site: "sendmsg", errors: manual.sendUnix, once: ["EAGAIN", "EINTR"] },
  { site: "recvmmsg", errors: manual.receiveUnix, once: ["EAGAIN", "EINTR"] },
  // A client that cannot be watched is treated as one too many.
  { site: "epoll_ctl_add", errors: manual.epollAdd, fate: "ended" },
  { site: "epoll_ctl_mod", errors: manual.epollModify },
  { site: "epoll_ctl_del", errors: manual.epollDelete },
  { site: "epoll_wait", errors: ["EINTR"], once: ["EINTR"] },
  { site: "epoll_pwait2", errors: ["EINTR"], once: ["EINTR"] },
  { site: "socket", errors: manual.socket },
  { site: "connect", errors: manual.connectUnix },
  { site: "close", errors: manual.close },
];

tryAll("door", rules, (folder, library) => new DoorLane(folder, library));
