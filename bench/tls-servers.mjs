/** HTTPS servers that accept by themselves and receive from doors, both at once: what the scenario `tls` asks. */
import { execFile } from "node:child_process";
import { access } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { findProgram } from "./contestants/origin.mjs";
import { BenchFailure } from "./failure.mjs";
import { Child } from "./process.mjs";

const run = promisify(execFile);
const nodeServer = fileURLToPath(new URL("tls-server.mjs", import.meta.url));
const goSource = fileURLToPath(new URL("go-server", import.meta.url));

/** What every answer ends with. */
export const ENDING = "\nend\n";
/** Of "/download", with its ending. */
export const DOWNLOAD_BYTES = (1 << 20) + ENDING.length;

/**
 * @typedef {object} Server
 * @property {string} name for --only; also its host's
 * @property {string} title
 * @property {(programs: import("./compile.mjs").Programs, signal: AbortSignal) => Promise<string[]>} command without its
 *   arguments; `signal` gives up making it
 *
 * @typedef {{ server: Server, child: Child, address: string, path: string }} RunningServer `address`: where it accepts by
 *   itself; `path`: where it receives
 */

/** @type {Server[]} */
export const servers = [
  { name: "node", title: "Node", command: async () => [process.execPath, nodeServer] },
  { name: "go", title: "Go", command: buildGoServer },
];

/** It lies where the C programs do. @param {import("./compile.mjs").Programs} programs @param {AbortSignal} signal @throws {BenchFailure} */
async function buildGoServer(programs, signal) {
  const go = findProgram("go") ?? (await usual("/usr/local/go/bin/go"));
  if (go === undefined) {
    throw new BenchFailure("there is no Go compiler: install one (Debian, Ubuntu: apt install golang-go)");
  }
  const program = join(dirname(programs.load), "go-server");
  // Only what has changed is compiled. Nothing is fetched: it needs nothing but Go's own packages.
  const environment = { ...process.env, CGO_ENABLED: "0", GOFLAGS: "-buildvcs=false -mod=mod", GOPROXY: "off" };
  try {
    await run(go, ["build", "-o", program, "."], { cwd: goSource, env: environment, signal });
  } catch (error) {
    signal.throwIfAborted();
    const { stderr = String(error) } = /** @type {{ stderr?: string }} */ (error);
    throw new BenchFailure(`go could not compile ${goSource}:\n${stderr.trim()}`);
  }
  return [program];
}

/** Where Go's own archive is unpacked to. @param {string} path */
const usual = (path) =>
  access(path).then(
    () => path,
    () => undefined,
  );

/**
 * @param {Server} server
 * @param {{ programs: import("./compile.mjs").Programs, folder: string, signal: AbortSignal, certificate: string, key: string }} place
 * @returns {Promise<RunningServer>}
 * @throws {BenchFailure} by its own words
 */
export async function startServer(server, { programs, folder, signal, certificate, key }) {
  const path = join(folder, `${server.name}.sock`);
  // By the tether: it must not outlive the benchmark.
  const command = [...(await server.command(programs, signal)), certificate, key, path];
  const child = new Child(`The ${server.title} server`, programs.tether, command);
  const address = await child.find((line) => (line.ready ? line.address : undefined), 10_000, signal);
  return { server, child, address, path };
}
