/**
 * A front door that a scenario asks, reloads, upgrades, stops and starts again: `sni-handoff serve` with a control socket.
 * (contestants/door.mjs is the one that is compared with others.)
 */
import { existsSync, readFileSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { BenchFailure } from "./failure.mjs";
import { Child, isAlive } from "./process.mjs";

const program = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));

/** A million names may take a while on a slow machine. Milliseconds. */
const PATIENCE = 120_000;

/** Doors that run, to end what upgrades have started, which is nobody's child. @type {Set<Door>} */
const running = new Set();
process.on("exit", () => {
  for (const door of running) {
    door.signal("SIGKILL");
  }
});

/**
 * @typedef {object} DoorStart
 * @property {string} folder
 * @property {string} name of its files in the folder
 * @property {import("./compile.mjs").Programs} programs
 * @property {AbortSignal} signal gives up starting
 * @property {object} configuration without `listeners` and `control`
 * @property {string} [address] where it listens; "127.0.0.1:0" if absent
 * @property {string} [output] file for its log
 * @property {NodeJS.ProcessEnv} [environment] more variables
 * @property {number} [listener] a listening socket that it gets as from systemd; it stays the caller's
 */

export class Door {
  /** @type {DoorStart} */
  #start;
  /** @type {Child} */
  #child;
  /** The process in charge. */
  pid = 0;
  /** "127.0.0.1:443" */
  address = "";

  /** @param {DoorStart} start @param {Child} child */
  constructor(start, child) {
    this.#start = start;
    this.#child = child;
    this.pid = child.pid;
  }

  /** Resolves when it serves. @param {DoorStart} start @returns {Promise<Door>} @throws {BenchFailure} */
  static async start(start) {
    if (!existsSync(program)) {
      throw new BenchFailure(`${program} is not there: build it first (npm run build)`);
    }
    await writeConfiguration(start, start.configuration);
    const door = new Door(start, spawnDoor(start));
    running.add(door);
    await door.#ready();
    return door;
  }

  async #ready() {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      this.#start.signal.throwIfAborted();
      if (this.#child.hasEnded) {
        running.delete(this);
        throw new BenchFailure(`The door ended before it was ready${this.#child.quote()}`);
      }
      const status = await this.status().catch(() => undefined);
      if (status !== undefined && status.pid === this.pid) {
        this.address = status.listeners[0].address;
        return;
      }
      if (Date.now() > deadline) {
        throw new BenchFailure(`The door was not ready after ${PATIENCE / 1000} s${this.#child.quote()}`);
      }
      await sleep(10);
    }
  }

  /** What `sni-handoff status --json` shows. @returns {Promise<any>} */
  status() {
    return ask(controlOf(this.#start), "GET", "/status");
  }

  /** Waits until what it tells of itself is as wanted. @param {string} what @param {(status: any) => boolean} isSo @param {number} [milliseconds] */
  async until(what, isSo, milliseconds = 30_000) {
    const deadline = Date.now() + milliseconds;
    for (let status = await this.status(); !isSo(status); status = await this.status()) {
      this.#start.signal.throwIfAborted();
      if (Date.now() > deadline) {
        throw new BenchFailure(
          `waited ${milliseconds / 1000} s in vain for ${what}: ${JSON.stringify(status.workers)} ${JSON.stringify(status.counters)}`,
        );
      }
      await sleep(50);
    }
  }

  /** Resolves when a backend has so many instances that are ready. @param {string} backend @param {number} count */
  instances(backend, count) {
    return this.until(`${count} instances of ${backend}`, ({ backends }) => {
      const found = backends.find((/** @type {any} */ each) => each.name === backend);
      return found.instances.filter((/** @type {any} */ { state }) => state === "ready").length === count;
    });
  }

  /** Writes another configuration and has it put into force. @param {object} configuration @throws {BenchFailure} */
  async reload(configuration) {
    await writeConfiguration({ ...this.#start, address: this.#configuredAddress }, configuration);
    await this.#order("/reload");
  }

  get #configuredAddress() {
    return this.#start.address ?? "127.0.0.1:0";
  }

  /** Replaces the process by a new one. Resolves when the one before is gone. @throws {BenchFailure} */
  async upgrade() {
    const before = this.pid;
    await this.#order("/upgrade");
    while (isAlive(before)) {
      await sleep(2);
    }
    this.pid = (await this.status()).pid;
  }

  /** @param {string} path */
  async #order(path) {
    const answer = await ask(controlOf(this.#start), "POST", path);
    if (!answer.ok) {
      throw new BenchFailure(`The door said: ${[answer.message, ...(answer.details ?? [])].join("; ")}`);
    }
  }

  /** @param {NodeJS.Signals} signal */
  signal(signal) {
    if (this.pid === this.#child.pid) {
      this.#child.signal(signal);
    } else if (isDoor(this.pid)) {
      process.kill(this.pid, signal);
    }
  }

  /** Ends it, by SIGTERM if nothing else is said; resolves when it is gone. @param {NodeJS.Signals} [signal] */
  async stop(signal = "SIGTERM") {
    this.signal(signal);
    const deadline = Date.now() + 15_000;
    while (isAlive(this.pid)) {
      if (Date.now() > deadline) {
        this.signal("SIGKILL");
      }
      await sleep(2);
    }
    running.delete(this);
    await this.#child.ended;
  }

  /** The same door, after its end, on the same port: a new process. @returns {Promise<Door>} */
  again() {
    return Door.start({ ...this.#start, address: this.address });
  }
}

/** @param {DoorStart} start */
const controlOf = ({ folder, name }) => join(folder, `${name}.control`);
/** @param {DoorStart} start */
const fileOf = ({ folder, name }) => join(folder, `${name}.yaml`);

/** @param {DoorStart} start @param {object} configuration */
async function writeConfiguration(start, configuration) {
  const whole = {
    listeners: [{ address: start.address ?? "127.0.0.1:0" }],
    control: controlOf(start),
    ...configuration,
  };
  // JSON is YAML. Renamed into its place: a reload reads the one or the other.
  await writeFile(`${fileOf(start)}.new`, JSON.stringify(whole, null, 2));
  await rename(`${fileOf(start)}.new`, fileOf(start));
}

/** @param {DoorStart} start */
function spawnDoor(start) {
  const { output, listener, environment } = start;
  const script = [
    ...(output === undefined ? [] : ['exec >"$SNI_HANDOFF_BENCH_OUTPUT"']),
    ...(listener === undefined ? [] : ["export LISTEN_PID=$$ LISTEN_FDS=1"]),
    'exec "$@"',
  ].join("\n");
  const command = [process.execPath, program, "serve", "--config", fileOf(start)];
  return new Child(
    "The door",
    start.programs.tether,
    ["/bin/sh", "-c", script, "sh", ...command],
    { ...process.env, ...environment, ...(output !== undefined && { SNI_HANDOFF_BENCH_OUTPUT: output }) },
    listener === undefined ? [] : [listener],
  );
}

/** A process id may belong to a stranger by now. @param {number} pid */
function isDoor(pid) {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(program) && isAlive(pid);
  } catch {
    return false;
  }
}

/** @param {string} socketPath @param {string} method @param {string} path @returns {Promise<any>} */
function ask(socketPath, method, path) {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, method, path, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (data) => {
        text += data;
      });
      response.on("error", reject);
      response.on("end", () => {
        try {
          resolve(JSON.parse(text));
        } catch (error) {
          reject(error);
        }
      });
    });
    sent.setTimeout(PATIENCE, () => sent.destroy(new Error(`no answer to ${method} ${path}`)));
    sent.on("error", reject);
    sent.end();
  });
}
