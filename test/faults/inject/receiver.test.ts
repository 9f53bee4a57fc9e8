/**
 * Every errno that the manual has for every call of a receiver (the library for Node) at work. Whatever a call answers:
 * each client is served once, by it or by the other instance; it spins no more than it dies; and warns once.
 */
import type { Rule } from "./cases.js";
import { manual } from "./manual.js";
import { nodeLibrary, ReceiverLane } from "./receiver-lane.js";
import { tryAll } from "./suite.js";

const rules: Rule[] = [
  { site: "accept4", errors: manual.accept, once: ["EAGAIN", "ECONNABORTED", "EINTR"] },
  { site: "getsockopt_peercred", errors: manual.socketOption },
  { site: "getsockopt_tcp_info", errors: manual.socketOption },
  { site: "getsockopt_linger", errors: manual.socketOption },
  { site: "recvmmsg", errors: manual.receiveUnix, once: ["EAGAIN", "EINTR"] },
  { site: "sendmsg", errors: manual.sendUnix, once: ["EAGAIN", "EINTR"] },
  // The descriptor that waits for room in the door's queue.
  {
    site: "fcntl_dupfd",
    errors: manual.duplicate,
    beside: { site: "sendmsg", errno: "EAGAIN", pattern: { first: 1, every: 3 } },
  },
  { site: "close", errors: manual.close },
];

tryAll("receiver", rules, (folder, library) => new ReceiverLane(nodeLibrary, folder, library));
