/**
 * What a scenario can put in the path of the clients.
 *
 * @typedef {object} Place what a contestant is started with
 * @property {import("../compile.mjs").Programs} programs
 * @property {string} folder for its sockets and files; its own
 * @property {number} names that it must route, `nameOf(0)` on
 * @property {boolean} [wildcards] the names are `*.` before those: clients ask for one below
 * @property {number} [clients] that it must serve at the same time; some 4,000 if absent
 * @property {boolean} [service] run as a service is: with the master process that reloads it, if it has one
 * @property {readonly string[]} [receiver] more options of the server, receiver.c
 * @property {number} [workers] of the door, 1 if absent
 * @property {Readonly<Record<string, string>>} [environment] variables of the door and the server
 * @property {AbortSignal} signal gives up starting
 *
 * @typedef {object} Running
 * @property {string} address where clients connect, "127.0.0.1:443"
 * @property {() => number[]} routerPids processes between client and server; none if there is no router
 * @property {() => number[]} serverPids
 * @property {() => Promise<void>} stop ends all its processes
 * @property {number} [startSeconds] from the router's start until it accepted
 * @property {Actions} [actions] what can be done to it
 *
 * @typedef {object} Actions each resolves when it is done and connections are served again; what it cannot do is absent
 * @property {() => Promise<void>} [reload] puts its configuration into force anew
 * @property {() => Promise<void>} [upgrade] another process takes over
 * @property {() => Promise<void>} [restart] is ended in order, and started again
 * @property {() => Promise<void>} [kill] by SIGKILL, and started again
 * @property {() => Promise<void>} [backend] the server behind it is ended in order, and started again after a while
 *
 * @typedef {object} Contestant
 * @property {string} name for --only
 * @property {string} title
 * @property {boolean} looksUpNames whether the number of names makes a difference to it
 * @property {number} [descriptors] that it may need for each client, as long as that is connected; 1 if absent
 * @property {() => string | null} missing why it cannot take part, and what to do about it; null if it can
 * @property {(place: Place) => Promise<Running>} start
 * @property {import("./peer.mjs").Peer} [peer] of another project's program
 */
import { join } from "node:path";
import { Child } from "../process.mjs";

/** How long a server that is restarted is away: as one that has to load its program. Milliseconds. */
export const BACKEND_AWAY = 500;

/**
 * The receiver behind a router.
 *
 * @param {Place} place
 * @param {readonly string[]} [options] of receiver.c
 * @returns {Promise<{ receiver: Child, path: string }>}
 */
export async function startReceiver(place, options = []) {
  const path = join(place.folder, "door.sock");
  const receiver = new Child(
    "The receiver",
    place.programs.receiver,
    ["-p", path, ...options, ...(place.receiver ?? [])],
    { ...process.env, ...place.environment },
  );
  await receiver.find((line) => line.ready, 5000, place.signal);
  return { receiver, path };
}

/** Where a C program of the benchmark listens, from its first line. @param {Child} child @param {AbortSignal} signal */
export function addressOf(child, signal) {
  return child.find((line) => (line.ready ? `${line.address}:${line.port}` : undefined), 5000, signal);
}
