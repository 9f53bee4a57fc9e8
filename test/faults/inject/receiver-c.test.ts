/** The same for the receiver of examples/c. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Rule } from "./cases.js";
import { manual } from "./manual.js";
import { ReceiverLane } from "./receiver-lane.js";
import { tryAll } from "./suite.js";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

const rules: Rule[] = [
  { site: "accept4", errors: manual.accept, once: ["EAGAIN", "ECONNABORTED", "EINTR"] },
  { site: "getsockopt_peercred", errors: manual.socketOption },
  { site: "getsockopt_tcp_info", errors: manual.socketOption },
  { site: "recvmmsg", errors: manual.receiveUnix, once: ["EAGAIN", "EINTR"] },
  { site: "send", errors: manual.sendUnix, once: ["EAGAIN", "EINTR"] },
  { site: "epoll_ctl_add", errors: manual.epollAdd },
  {
    site: "epoll_ctl_mod",
    errors: manual.epollModify,
    beside: { site: "send", errno: "EAGAIN", pattern: { first: 1, every: 3 } },
  },
  { site: "epoll_ctl_del", errors: manual.epollDelete },
  { site: "epoll_wait", errors: manual.epollWait, once: manual.epollWait },
  { site: "close", errors: manual.close },
];

tryAll("receiver in C", rules, (folder, library) => {
  const program = `${folder}/receiver-in-c`;
  const flags = [
    "-std=gnu11",
    "-O1",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-pthread",
    `-I${at("../../../examples/c")}`,
  ];
  execFileSync("cc", [...flags, "-o", program, at("../fixtures/receiver.c")], { stdio: ["ignore", "pipe", "pipe"] });
  return new ReceiverLane({ command: [program], object: "receiver-in-c", canBeOverloaded: false }, folder, library);
});
