/** What is looked at before anything starts: better a sentence now than an error after ten minutes. */
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { BenchFailure } from "./failure.mjs";

/** Descriptors that a process of the benchmark needs beside those of its clients: a full window, listeners, Node's own. */
const SPARE_DESCRIPTORS = 300;

/**
 * @typedef {object} Limits
 * @property {number} clients most at the same time
 * @property {(descriptors?: number) => number} most the same through a router that needs so many descriptors for each
 * @property {number} sources client addresses per thread of the load generator
 * @property {string[]} notes on what was scaled down, and why
 */

/**
 * @param {number} wantedClients
 * @param {object} [needs]
 * @param {number | undefined} [needs.perClient] descriptors that one process may need for each, 1 if absent
 * @param {readonly { title: string, descriptors?: number }[] | undefined} [needs.routers] that may have fewer clients, if
 *   they need more descriptors for each
 * @param {number | undefined} [needs.fewest] clients with which something useful can be measured, 64 if absent
 * @returns {Promise<Limits>}
 * @throws {BenchFailure} if nothing useful can be measured
 */
export async function checkLimits(wantedClients, { perClient = 1, routers = [], fewest = 64 } = {}) {
  const notes = [];
  let clients = wantedClients;
  const leastClients = Math.min(fewest, wantedClients);

  const descriptors = descriptorLimit();
  const least = SPARE_DESCRIPTORS + leastClients * perClient;
  if (descriptors < least) {
    throw new BenchFailure(
      `At most ${descriptors} files may be open; the benchmark needs ${least} at least: raise the hard limit (ulimit -Hn).`,
    );
  }
  if (descriptors < clients * perClient + SPARE_DESCRIPTORS) {
    clients = Math.floor((descriptors - SPARE_DESCRIPTORS) / perClient);
    notes.push(
      `Only ${clients} clients instead of ${wantedClients}: at most ${descriptors} files may be open (ulimit -Hn)${perClient > 1 ? `, and a proxy needs up to ${perClient} for each` : ""}.`,
    );
  }

  // Half of them are left to whoever else needs some.
  const ports = portCount() >> 1;
  const needsMore = [{ descriptors: perClient }, ...routers].some((router) => (router.descriptors ?? 1) > 1);
  if (needsMore && ports < clients) {
    // A proxy's own connections all come from 127.0.0.1.
    clients = perClient > 1 ? ports : clients;
    notes.push(`Only ${ports} clients through routers that proxy: that is half of net.ipv4.ip_local_port_range.`);
  }
  const most = (each = 1) =>
    Math.min(clients, Math.floor((descriptors - SPARE_DESCRIPTORS) / each), each > 1 ? ports : clients);
  for (const each of new Set(routers.flatMap((router) => router.descriptors ?? []))) {
    const titles = routers.filter((router) => router.descriptors === each).map(({ title }) => title);
    const fitting = Math.floor((descriptors - SPARE_DESCRIPTORS) / each);
    if (fitting < clients) {
      notes.push(
        `Only ${fitting} clients instead of ${wantedClients} through ${titles.join("; ")}: at most ${descriptors} files may be open (ulimit -Hn), and up to ${each} are needed for each.`,
      );
    }
  }

  const sources = (await canListenAt("127.64.0.1")) ? 1000 : 0;
  if (sources === 0) {
    // All clients share one address, and so its ports.
    notes.push("Clients all come from 127.0.0.1: the rest of 127.0.0.0/8 cannot be used here.");
    if (ports < clients) {
      clients = ports;
      notes.push(`Only ${clients} clients: that is half of net.ipv4.ip_local_port_range.`);
    }
  }
  if (clients < leastClients) {
    throw new BenchFailure(
      `There are ports for ${clients} clients, and ${leastClients} are needed at least: widen net.ipv4.ip_local_port_range.`,
    );
  }
  return { clients, most, sources, notes };
}

/** The hard limit: the programs raise their own to that. */
function descriptorLimit() {
  const found = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8"));
  return found === null || found[1] === "unlimited" ? 1 << 20 : Number(found[1]);
}

function portCount() {
  const [first, last] = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8").trim().split(/\s+/).map(Number);
  return last - first + 1;
}

/** @param {string} host @returns {Promise<boolean>} */
function canListenAt(host) {
  return new Promise((resolve) => {
    const server = createServer();
    server.on("error", () => resolve(false));
    server.listen(0, host, () => server.close(() => resolve(true)));
  });
}
