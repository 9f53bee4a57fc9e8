/** The same for a server that receives by libsnihandoff.so: of the calls that the library makes in it. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Rule } from "./cases.js";
import { manual } from "./manual.js";
import { ReceiverLane } from "./receiver-lane.js";
import { tryAll } from "./suite.js";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const preload = at("../../../native/build/preload/libsnihandoff.so");

const rules: Rule[] = [
  // accept(2) fails so, as servers know it.
  { site: "recvmsg", errors: manual.receiveUnix, once: ["EINTR"] },
  // The ACK: the connection goes back to the helper.
  { site: "send", errors: manual.sendUnix, once: ["EAGAIN", "EINTR"] },
  // Who a client is, is not asked twice: it is taken for one that is gone.
  { site: "getpeername", errors: manual.getpeername, fate: "ended" },
  { site: "close", errors: manual.close },
];

tryAll("preload library", rules, (folder, library) => {
  const program = `${folder}/server`;
  const flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"];
  execFileSync("cc", [...flags, "-o", program, at("../fixtures/server.c")], { stdio: ["ignore", "pipe", "pipe"] });
  const subject = {
    command: [program],
    object: "libsnihandoff.so",
    canBeOverloaded: false,
    // Behind it: what it calls, and what it finds by dlsym(3), is the injector's.
    environment: (path: string, injector: string) => ({
      LD_PRELOAD: `${preload}:${injector}`,
      SNI_HANDOFF: `443=${path}`,
    }),
  };
  return new ReceiverLane(subject, folder, library);
});
