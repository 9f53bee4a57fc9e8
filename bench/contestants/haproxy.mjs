/** HAProxy in TCP mode, routing by server name, with one thread. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { nameOf } from "../names.mjs";
import { Child, processTree } from "../process.mjs";
import { freePort, listening, serverEnvironment, startOrigin, versionText } from "./origin.mjs";

/** It decides by itself when to splice (Configuration Manual, `option splice-auto`): for a stream without end, never. */
export const haproxy = makeHaproxy("haproxy", "HAProxy, splice-auto", ["option splice-auto"]);

/** Told to splice always. */
export const haproxySplicing = makeHaproxy("haproxy-splicing", "HAProxy, splicing", [
  "option splice-request",
  "option splice-response",
]);

/**
 * With larger pipes, as its manual advises for much traffic (tune.pipesize). maxconn asks for two descriptors a
 * connection and half of one for pipes.
 *
 * @param {string} listen @param {string} origin @param {readonly string[]} options
 */
export const haproxyConfiguration = (listen, origin, options) => `global
    nbthread 1
    maxconn 4000
    tune.pipesize 524288
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
    use_backend bench if { req.ssl_sni -i ${nameOf(0)} }
backend bench
    server origin ${origin}
`;

/** @param {string} name @param {string} title @param {readonly string[]} options @returns {import("./contestant.mjs").Contestant} */
function makeHaproxy(name, title, options) {
  return {
    name,
    title,
    looksUpNames: false,
    missing: () =>
      versionText("haproxy", "-v") === undefined
        ? "there is no haproxy here: apt-get install haproxy (in a clone: bash test/interop/install.sh haproxy)"
        : null,
    async start(place) {
      const { origin, address: target } = await startOrigin(place);
      const address = `127.0.0.1:${await freePort()}`;
      const file = join(place.folder, "haproxy.cfg");
      await writeFile(file, haproxyConfiguration(address, target, options));
      const command = ["haproxy", "-db", "-f", file];
      const router = new Child("HAProxy", place.programs.tether, command, serverEnvironment);
      await listening(router, address, place.signal);
      return {
        address,
        routerPids: () => processTree(router.pid),
        serverPids: () => [origin.pid],
        async stop() {
          await router.stop();
          await origin.stop();
        },
      };
    },
  };
}
