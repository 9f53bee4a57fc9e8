/** The other projects' routers that the benchmark measures, and `bench peers`: which of them are here. */
import { haproxy } from "./contestants/haproxy.mjs";
import { nginxShort } from "./contestants/nginx.mjs";
import { findProgram } from "./contestants/origin.mjs";
import { sniRouterPass, sniRouterProxy } from "./contestants/sni-router.mjs";
import { sniproxy } from "./contestants/sniproxy.mjs";
import { tlsrouter } from "./contestants/tlsrouter.mjs";

/** Those that all scenarios with short connections measure. */
export const peers = [haproxy, nginxShort, sniproxy, sniRouterPass, sniRouterProxy, tlsrouter];

/** A proxy needs two for each client, and HAProxy half of one more for pipes. */
export const DESCRIPTORS_PER_CLIENT = 3;

/** Lines: found and which version, or missing and what installs it. */
export function peersText() {
  return peers
    .map((contestant) => {
      const { program, version } = contestant.peer;
      const missing = contestant.missing();
      const found = missing === null ? `${version() ?? "of unknown version"}, ${findProgram(program)}` : missing;
      return `  ${contestant.name.padEnd(17)} ${found}\n`;
    })
    .join("");
}

/**
 * The configurations of those that take part, for the report.
 *
 * @param {readonly import("./contestants/contestant.mjs").Contestant[]} contestants
 * @param {object} [options]
 * @param {boolean} [options.service] as a service, with the master process that reloads it
 * @param {(contestant: import("./contestants/contestant.mjs").Contestant) => number} [options.clients] at the same time
 * @returns {import("./report/result.mjs").Configuration[]}
 */
export function configurationsOf(contestants, { service = false, clients } = {}) {
  return contestants.flatMap((contestant) => {
    const { title, peer } = contestant;
    return peer === undefined
      ? []
      : [
          {
            name: `${title}: ${peer.version() ?? "of unknown version"}`,
            text: peer.configuration(service, clients?.(contestant)),
          },
        ];
  });
}
