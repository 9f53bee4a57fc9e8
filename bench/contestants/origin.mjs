/** What is behind a router that cannot hand over: the receiver, accepting by itself, on a port of its own. */
import { spawnSync } from "node:child_process";
import { connect, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { BenchFailure } from "../failure.mjs";
import { Child } from "../process.mjs";
import { addressOf } from "./contestant.mjs";

/** @param {import("./contestant.mjs").Place} place @returns {Promise<{ origin: Child, address: string }>} */
export async function startOrigin(place) {
  const origin = new Child("The origin", place.programs.receiver, ["-l", "127.0.0.1:0", ...(place.receiver ?? [])]);
  return { origin, address: await addressOf(origin, place.signal) };
}

/** What a program says of its version, both outputs; undefined if it is not there. @param {string} program @param {string} option */
export function versionText(program, option) {
  // Debian keeps servers where only root looks for programs.
  const PATH = `${process.env.PATH ?? ""}:/usr/sbin:/usr/local/sbin`;
  const { error, stdout, stderr } = spawnSync(program, [option], { encoding: "utf8", env: { ...process.env, PATH } });
  return error === undefined ? `${stdout}${stderr}` : undefined;
}

/** Where a server is found that versionText found. */
export const serverEnvironment = { ...process.env, PATH: `${process.env.PATH ?? ""}:/usr/sbin:/usr/local/sbin` };

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
 * @param {Child} child @param {string} address @param {AbortSignal} signal gives up
 * @throws {BenchFailure} if it ends, or is late
 */
export async function listening(child, address, signal) {
  const { hostname, port } = new URL(`tcp://${address}`);
  const accepts = () =>
    new Promise((resolve) => {
      const socket = connect(Number(port), hostname, () => resolve(true));
      socket.on("error", () => resolve(false));
      socket.on("connect", () => socket.destroy());
    });
  for (const deadline = Date.now() + 10_000; !(await accepts()); await sleep(20)) {
    signal.throwIfAborted();
    if (child.hasEnded || Date.now() > deadline) {
      throw new BenchFailure(`${child.name} does not listen at ${address}${child.quote()}`);
    }
  }
}
