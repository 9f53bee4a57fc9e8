/**
 * Another project's router as a contestant: found, configured, started, and what can be done to it while it runs.
 *
 * Each is configured as its own manual advises for this use, with one thread like the door's one worker, and the report
 * prints how.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BenchFailure } from "../failure.mjs";
import { Child, isAlive, processTree } from "../process.mjs";
import { BACKEND_AWAY } from "./contestant.mjs";
import { findProgram, freePort, listening, serverEnvironment, startOrigin, versionText } from "./origin.mjs";

/**
 * @typedef {object} Target what its configuration is made from
 * @property {string} folder for its files
 * @property {string} listen address and port
 * @property {string} target where its server is: address and port, or a path
 * @property {number} names
 * @property {boolean} wildcards
 * @property {boolean} service with the master process that a service has
 * @property {number} clients that it must serve at the same time
 *
 * @typedef {object} Peer
 * @property {string} program
 * @property {() => string | undefined} version undefined if it is not there
 * @property {string} install the command
 * @property {number} mostNames of which it is measured with
 * @property {boolean} wildcards whether it is measured with wildcards
 * @property {(service: boolean, clients?: number) => string} configuration for the report
 *
 * @typedef {object} Description
 * @property {string} name for --only
 * @property {string} title
 * @property {string} program
 * @property {string} package what Debian calls it, or "" if it is none of Debian's
 * @property {string} [install] the command, if it is none of Debian's
 * @property {readonly string[]} [version] options that make it tell its version
 * @property {(path: string) => string} [versionOf] for one that has no such option
 * @property {() => string | null} [lacks] what else is missing; null if nothing is
 * @property {number} [mostNames] default 1
 * @property {boolean} [wildcards] default false
 * @property {(target: Target) => string} configuration
 * @property {(target: Target) => Promise<string[]>} configure writes its files; the command
 * @property {NodeJS.ProcessEnv} [environment]
 * @property {boolean} [silenced] its standard error goes nowhere; what keeps it from starting is told all the same
 * @property {number} [descriptors] for each client; default 2
 * @property {boolean} [datagrams] passes connections on by a datagram socket
 * @property {NodeJS.Signals} [stopSignal] that ends it in order; SIGTERM if absent
 * @property {(router: Child, target: Target) => Promise<void>} [reload] resolves when it is in force
 */

/** More than most scenarios have. */
const CLIENTS = 4000;

/** @param {Description} description @returns {import("./contestant.mjs").Contestant & { peer: Peer }} */
export function makePeer(description) {
  const { name, title, program } = description;
  const install =
    description.install ??
    `apt-get install ${description.package} (in a clone: bash test/interop/install.sh ${program})`;
  const version = () => {
    const path = findProgram(program);
    if (path === undefined || description.versionOf !== undefined) {
      return path === undefined ? undefined : description.versionOf?.(path);
    }
    return versionText(program, description.version?.[0] ?? "--version")
      ?.trim()
      .split("\n")[0];
  };
  const shown = { folder: "FOLDER", listen: "LISTEN", target: "SERVER", names: 1, wildcards: false };
  return {
    name,
    title,
    looksUpNames: (description.mostNames ?? 1) > 1,
    descriptors: description.datagrams === true ? 1 : (description.descriptors ?? 2),
    missing: () =>
      findProgram(program) === undefined ? `there is no ${program} here: ${install}` : (description.lacks?.() ?? null),
    peer: {
      ...{ program, version, install },
      mostNames: description.mostNames ?? 1,
      wildcards: description.wildcards ?? false,
      configuration: (service, clients = CLIENTS) =>
        description.configuration({ ...shown, service, clients: Math.max(CLIENTS, clients) }),
    },
    start: (place) => start(description, place),
  };
}

/** @param {Description} description @param {import("./contestant.mjs").Place} place @returns {Promise<import("./contestant.mjs").Running>} */
async function start(description, place) {
  let behind = await startBehind(description, place);
  const address = `127.0.0.1:${await freePort()}`;
  const target = {
    ...{ folder: place.folder, listen: address, target: behind.target, names: place.names },
    ...{ wildcards: place.wildcards ?? false, service: place.service ?? false },
    clients: Math.max(CLIENTS, place.clients ?? 0),
  };
  const command = await description.configure(target);
  const spawn = () => spawnRouter(description, place, address, command);
  const began = performance.now();
  let router = await spawn().catch(async (error) => {
    await behind.server.stop();
    throw error;
  });
  const again = async (/** @type {() => void} */ end) => {
    const tree = processTree(router.pid);
    end();
    const timer = setTimeout(() => router.kill(), STOP_MILLISECONDS);
    await router.ended;
    clearTimeout(timer);
    while (tree.some(isAlive)) {
      await sleep(2);
    }
    router = await spawn();
  };
  const startSeconds = (performance.now() - began) / 1000;
  const { reload } = description;
  return {
    ...{ address, startSeconds },
    routerPids: () => processTree(router.pid),
    serverPids: () => [behind.server.pid],
    async stop() {
      await router.stop();
      await behind.server.stop();
    },
    actions: {
      ...(reload !== undefined && { reload: () => reload(router, target) }),
      restart: () => again(() => router.signal(description.stopSignal ?? "SIGTERM")),
      kill: () => again(() => router.kill()),
      async backend() {
        await behind.server.stop();
        await sleep(BACKEND_AWAY);
        behind = await startBehind(description, place, behind.target);
      },
    },
  };
}

/**
 * @param {Description} description
 * @param {import("./contestant.mjs").Place} place
 * @param {string} address
 * @param {readonly string[]} command
 * @returns {Promise<Child>} that listens
 * @throws {BenchFailure} what it said if it does not
 */
async function spawnRouter({ title, environment, silenced = false }, place, address, command) {
  // The tether: a router must not outlive the benchmark, and it does not know that it runs in one.
  const spawn = (/** @type {readonly string[]} */ parameters) =>
    new Child(title, place.programs.tether, parameters, { ...serverEnvironment, ...environment });
  const router = spawn(silenced ? ["/bin/sh", "-c", 'exec "$@" 2>/dev/null', "sh", ...command] : command);
  try {
    await listening(router, address, place.signal, START_MILLISECONDS);
    return router;
  } catch (error) {
    await router.stop();
    if (!silenced || place.signal.aborted) {
      throw error;
    }
  }
  const heard = spawn(command);
  try {
    await listening(heard, address, place.signal, START_MILLISECONDS);
    return heard;
  } catch (error) {
    await heard.stop();
    throw error;
  }
}

/** One that waits for its last connection may wait long. */
const STOP_MILLISECONDS = 15_000;
/** A million names may take a while on a slow machine. */
const START_MILLISECONDS = 60_000;

/** @param {Description} description @param {import("./contestant.mjs").Place} place @param {string} [at] where it was before */
async function startBehind(description, place, at) {
  if (description.datagrams !== true) {
    const { origin, address } = await startOrigin(place, at);
    return { server: origin, target: address };
  }
  const path = at ?? join(place.folder, "pass.sock");
  rmSync(path, { force: true });
  const server = new Child("The receiver", place.programs.receiver, ["-u", path, ...(place.receiver ?? [])]);
  await server.find((line) => line.ready, 5000, place.signal);
  return { server, target: path };
}

/** Waits for what a reload changes. @param {string} what @param {() => boolean} isSo @throws {BenchFailure} */
export async function reloaded(what, isSo) {
  for (const deadline = Date.now() + START_MILLISECONDS; !isSo(); await sleep(2)) {
    if (Date.now() > deadline) {
      throw new BenchFailure(`waited ${START_MILLISECONDS / 1000} s in vain for ${what}`);
    }
  }
}
