/** HAProxy in TCP mode, routing by server name, with one thread. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { nameOf, writeMap } from "../names.mjs";
import { processTree } from "../process.mjs";
import { makePeer, reloaded } from "./peer.mjs";

/** It decides by itself when to splice (Configuration Manual, `option splice-auto`): for a stream without end, never. */
export const haproxy = makeHaproxy("haproxy", "HAProxy, splice-auto", ["option splice-auto"]);

/** Told to splice always. */
export const haproxySplicing = makeHaproxy("haproxy-splicing", "HAProxy, splicing", [
  "option splice-request",
  "option splice-response",
]);

/**
 * With larger pipes, as its manual advises for much traffic (tune.pipesize). maxconn asks for two descriptors a
 * connection and half of one for pipes. Many names are in a map, which is a tree; a wildcard is one of the names without
 * their first label.
 *
 * @param {import("./peer.mjs").Target} target
 * @param {readonly string[]} options
 */
function configuration({ folder, listen, target, names, wildcards, clients }, options) {
  const name = `req.ssl_sni,lower${wildcards ? ",field(2,.,0)" : ""}`;
  return `global
    nbthread 1
    maxconn ${clients}
    tune.pipesize 524288
    hard-stop-after 10s
defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
${options.map((option) => `    ${option}`).join("\n")}
frontend front
    bind ${listen} backlog 65535 defer-accept
    tcp-request inspect-delay 5s
    tcp-request content accept if { req.ssl_hello_type 1 }
    ${
      names > 1 || wildcards
        ? `use_backend %[${name},map(${join(folder, "names.map")},none)]`
        : `use_backend bench if { req.ssl_sni -i ${nameOf(0)} }`
    }
backend bench
    server origin ${target}
backend none
    server none 127.0.0.1:9 disabled
`;
}

/** @param {string} name @param {string} title @param {readonly string[]} options */
function makeHaproxy(name, title, options) {
  return makePeer({
    ...{ name, title, program: "haproxy", package: "haproxy", version: ["-v"], mostNames: 1_000_000, wildcards: true },
    // A half is for pipes.
    descriptors: 3,
    configuration: (target) => configuration(target, options),
    async configure(target) {
      const { folder, names, wildcards, service } = target;
      const file = join(folder, "haproxy.cfg");
      if (names > 1 || wildcards) {
        await writeMap(join(folder, "names.map"), names, "bench");
      }
      await writeFile(file, configuration(target, options));
      return ["haproxy", ...(service ? ["-W"] : []), "-db", "-f", file];
    },
    /** The master starts a new worker and the one before ends, when its connections have (Management Guide, 4). */
    reload(router) {
      const before = workersOf(router.pid);
      router.signal("SIGUSR2");
      return reloaded("HAProxy's new worker", () => {
        const now = workersOf(router.pid);
        return now.length > 0 && !now.some((pid) => before.includes(pid));
      });
    },
  });
}

/** @param {number} master */
const workersOf = (master) => processTree(master).slice(1);
