/** sniproxy (one thread, libev), which looks for a name in its list of regular expressions, from the first one on. */
import { writeFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { nameOf } from "../names.mjs";
import { makePeer } from "./peer.mjs";

/** It says nothing when it has read its configuration anew. Milliseconds. */
const RELOAD_REST = 200;

/**
 * By itself it logs each connection; its access log is off, and so are its complaints of clients that reset their
 * connection. As another user than it was started by it would outlive the benchmark: a change of user undoes
 * PR_SET_PDEATHSIG (prctl(2)).
 *
 * @param {import("./peer.mjs").Target} target
 */
function configuration({ folder, listen, target, names, wildcards }) {
  const star = wildcards ? "[^.]+\\." : "";
  const rules = Array.from({ length: names }, (_, i) => `    ^${star}${nameOf(i).replaceAll(".", "\\.")}$ ${target}\n`);
  return `username ${userInfo().username}
pidfile ${folder}/sniproxy.pid
error_log {
    filename ${folder}/sniproxy.log
    priority alert
}
access_log {
    filename /dev/null
    priority alert
}
listener ${listen} {
    protocol tls
}
table {
${rules.join("")}}
`;
}

export const sniproxy = makePeer({
  ...{ name: "sniproxy", title: "sniproxy", program: "sniproxy", package: "sniproxy", version: ["-V"] },
  ...{ mostNames: 1000, wildcards: true },
  configuration,
  async configure(target) {
    const file = join(target.folder, "sniproxy.conf");
    await writeFile(file, configuration(target));
    // Descriptors: two for each client.
    return ["sniproxy", "-f", "-n", String(2 * target.clients + 1000), "-c", file];
  },
  async reload(router) {
    router.signal("SIGHUP");
    await sleep(RELOAD_REST);
  },
});
