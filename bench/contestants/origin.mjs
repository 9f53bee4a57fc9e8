/** What is behind a router that cannot hand over: the receiver, accepting by itself, on a port of its own. */
import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { connect, createServer } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BenchFailure } from "../failure.mjs";
import { Child } from "../process.mjs";
import { addressOf } from "./contestant.mjs";

/**
 * @param {import("./contestant.mjs").Place} place
 * @param {string} [at] where it listens; any free port if absent
 * @returns {Promise<{ origin: Child, address: string }>}
 */
export async function startOrigin(place, at = "127.0.0.1:0") {
  const origin = new Child("The origin", place.programs.receiver, ["-l", at, ...(place.receiver ?? [])]);
  return { origin, address: await addressOf(origin, place.signal) };
}

/**
 * Where other projects' programs are found: Debian keeps servers where only root looks, and test/interop/install.sh keeps
 * what it builds in a folder of its own.
 */
const PATH = [
  join(process.env.SNI_HANDOFF_PEERS ?? join(homedir(), ".cache", "sni-handoff-peers"), "bin"),
  process.env.PATH ?? "",
  "/usr/sbin:/usr/local/sbin",
].join(":");

/** For a program that may be in one of these. */
export const serverEnvironment = { ...process.env, PATH };

/** What a program says of its version, both outputs; undefined if it is not there. @param {string} program @param {string} option */
export function versionText(program, option) {
  const { error, stdout, stderr } = spawnSync(program, [option], { encoding: "utf8", env: serverEnvironment });
  return error === undefined ? `${stdout}${stderr}` : undefined;
}

/** @param {string} program @returns {string | undefined} its path */
export function findProgram(program) {
  return PATH.split(":")
    .map((folder) => join(folder || ".", program))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** For programs that cannot be told to take any port. Nothing holds it until they do. @returns {Promise<number>} */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
      server.close(() => resolve(port));
    });
  });
}

/**
 * Resolves when a program that prints no line about it accepts connections.
 *
 * @param {Child} child @param {string} address @param {AbortSignal} signal gives up @param {number} [milliseconds] to wait at most
 * @throws {BenchFailure} if it ends, or is late
 */
export async function listening(child, address, signal, milliseconds = 10_000) {
  const { hostname, port } = new URL(`tcp://${address}`);
  const accepts = () =>
    new Promise((resolve) => {
      const socket = connect(Number(port), hostname, () => resolve(true));
      socket.on("error", () => resolve(false));
      socket.on("connect", () => socket.destroy());
    });
  for (const deadline = Date.now() + milliseconds; !(await accepts()); await sleep(20)) {
    signal.throwIfAborted();
    if (child.hasEnded || Date.now() > deadline) {
      throw new BenchFailure(`${child.name} does not listen at ${address}${child.quote()}`);
    }
  }
}
