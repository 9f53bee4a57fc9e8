/**
 * The processes that a benchmark starts: their first line, their end, what they use. Only own children are ever
 * signalled, and only while they are known to live: a process id may belong to a stranger by then.
 */
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { BenchFailure } from "./failure.mjs";

/** All children that have not ended, so that nothing outlives the benchmark however it ends. @type {Set<Child>} */
const living = new Set();
process.on("exit", () => {
  for (const child of living) {
    child.kill();
  }
});

/** Ends all children that still live. */
export async function stopAll() {
  await Promise.all([...living].map((child) => child.stop()));
}

/**
 * SIGINT and SIGTERM end the children in order, and with them whatever waits for these; the second one ends at once.
 *
 * @returns {AbortSignal} aborted from the first one on: start nothing more, print what there is
 */
export function stopAtSignals() {
  const interruption = new AbortController();
  const interrupt = () => {
    if (interruption.signal.aborted) {
      process.exit(130);
    }
    interruption.abort();
    void stopAll();
  };
  process.on("SIGINT", interrupt);
  process.on("SIGTERM", interrupt);
  return interruption.signal;
}

/** A child process. Its lines are those of its standard output. */
export class Child {
  /** @type {import("node:child_process").ChildProcess} */
  #process;
  /** @type {string[]} the last ones */
  #lines = [];
  #dropped = 0;
  /** @type {string[]} its last lines of standard error */
  #complaints = [];
  /** @type {Set<() => void>} */
  #watchers = new Set();
  #ended = false;

  /**
   * @param {string} name for messages
   * @param {string} command
   * @param {readonly string[]} parameters
   * @param {NodeJS.ProcessEnv} [environment] instead of this process's own
   * @param {readonly number[]} [descriptors] that it gets as 3 and on
   */
  constructor(name, command, parameters, environment = process.env, descriptors = []) {
    this.name = name;
    // In a process group of its own: Ctrl-C in the terminal reaches the benchmark only, which ends the others in order.
    this.#process = spawn(command, parameters, {
      detached: true,
      stdio: ["ignore", "pipe", "pipe", ...descriptors],
      env: environment,
    });
    living.add(this);
    /** Settles when the process has ended and all its lines are here. @type {Promise<void>} */
    this.ended = new Promise((resolve) => {
      const end = () => {
        this.#ended = true;
        living.delete(this);
        this.#wake();
        resolve();
      };
      this.#process.on("close", end);
      this.#process.on("error", (error) => {
        this.#complaints.push(error.message);
        end();
      });
    });
    const { stdout, stderr } = this.#process;
    createInterface({ input: /** @type {import("node:stream").Readable} */ (stdout) }).on("line", (line) => {
      this.#lines.push(line);
      if (this.#lines.length > 100) {
        this.#lines.shift();
        this.#dropped++;
      }
      this.#wake();
    });
    createInterface({ input: /** @type {import("node:stream").Readable} */ (stderr) }).on("line", (line) => {
      this.#complaints.push(line);
      this.#complaints.splice(0, this.#complaints.length - 10);
    });
  }

  /** The process id. The process may have ended: pass it to nothing that signals. */
  get pid() {
    return this.#process.pid ?? 0;
  }

  get hasEnded() {
    return this.#ended;
  }

  /**
   * Waits for a line of JSON that `choose` finds something in.
   *
   * @template T
   * @param {(line: any) => T | undefined} choose
   * @param {number} milliseconds to wait at most
   * @param {AbortSignal} [signal] gives up
   * @returns {Promise<T>}
   * @throws {BenchFailure} if the process ends before, or is late; quotes what it said
   */
  async find(choose, milliseconds, signal) {
    const deadline = Date.now() + milliseconds;
    for (let next = 0; ; ) {
      for (next = Math.max(next, this.#dropped); next < this.#dropped + this.#lines.length; next++) {
        const line = parseJson(this.#lines[next - this.#dropped]);
        const found = line === undefined ? undefined : choose(line);
        if (found !== undefined) {
          return found;
        }
      }
      signal?.throwIfAborted();
      if (this.#ended) {
        throw new BenchFailure(`${this.name} ended before it was ready${this.quote()}`);
      }
      const left = deadline - Date.now();
      if (left <= 0) {
        throw new BenchFailure(`${this.name} was not ready after ${milliseconds / 1000} s${this.quote()}`);
      }
      await this.#change(Math.min(left, 500));
    }
  }

  /** What it said on standard error, or else on standard output, for a message. */
  quote() {
    const said = this.#complaints.length > 0 ? this.#complaints : this.#lines.slice(-5);
    return said.length > 0 ? `. It said:\n${said.map((line) => `    ${line}`).join("\n")}` : " and said nothing.";
  }

  /** @param {NodeJS.Signals} signal */
  signal(signal) {
    if (!this.#ended && this.#process.exitCode === null && this.#process.signalCode === null) {
      this.#process.kill(signal);
    }
  }

  /** Kills it, and what it has started and not put into a group of its own (workers of a master that is killed live on). */
  kill() {
    // Until it has been waited for, its number, which is its group's too, is no stranger's.
    const { pid, exitCode, signalCode } = this.#process;
    if (!this.#ended && pid !== undefined && exitCode === null && signalCode === null) {
      try {
        process.kill(-pid, "SIGKILL");
      } catch {
        this.signal("SIGKILL"); // it has not got as far as to its own group
      }
    }
  }

  /** Asks it to end; after `milliseconds` it is killed. Settles when it has ended. @param {number} [milliseconds] */
  async stop(milliseconds = 5000) {
    this.signal("SIGTERM");
    const timer = setTimeout(() => this.kill(), milliseconds);
    await this.ended;
    clearTimeout(timer);
  }

  #wake() {
    for (const watcher of this.#watchers) {
      watcher();
    }
  }

  /** A line or the end, or the time is over. @param {number} milliseconds */
  #change(milliseconds) {
    return new Promise((/** @type {(value: void) => void} */ resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#watchers.delete(done);
        resolve();
      };
      const timer = setTimeout(done, milliseconds);
      this.#watchers.add(done);
    });
  }
}

/** @param {string} text @returns {any} undefined if it is no JSON object */
function parseJson(text) {
  if (!text.startsWith("{")) {
    return undefined;
  }
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A process and all its descendants, as long as they live. @param {number} pid @returns {number[]} */
export function processTree(pid) {
  /** @type {Map<number, number[]>} */
  const children = new Map();
  for (const entry of readdirSync("/proc")) {
    const parent = /^\d+$/.test(entry) ? statFields(Number(entry))?.[1] : undefined;
    if (parent !== undefined) {
      children.set(Number(parent), [...(children.get(Number(parent)) ?? []), Number(entry)]);
    }
  }
  const tree = [pid];
  for (let i = 0; i < tree.length; i++) {
    tree.push(...(children.get(tree[i]) ?? []));
  }
  return tree;
}

/**
 * CPU time that processes have used, all threads: utime + stime, in hundredths of a second as proc(5) has it. For
 * a finer figure over a load's own time see its option -u.
 *
 * @param {readonly number[]} pids
 * @returns {number} seconds; a process that is gone adds nothing
 */
export function cpuSeconds(pids) {
  let ticks = 0;
  for (const pid of pids) {
    const fields = statFields(pid);
    ticks += fields === undefined ? 0 : Number(fields[11]) + Number(fields[12]);
  }
  return ticks / 100;
}

/** CPU time of this process's children that have ended, and of theirs. @returns {number} seconds */
export function cpuSecondsOfEnded() {
  const fields = statFields(process.pid);
  return fields === undefined ? 0 : (Number(fields[13]) + Number(fields[14])) / 100;
}

/**
 * CPU time of all threads that live, to the nanosecond: /proc/PID/task/TID/schedstat. For what takes less than the
 * hundredths of a second above.
 *
 * @param {number} pid
 * @returns {number | null} seconds; null if the kernel doesn't tell, or it is gone
 */
export function cpuSecondsExactly(pid) {
  try {
    let nanoseconds = 0;
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]);
    }
    return nanoseconds / 1e9;
  } catch {
    return null;
  }
}

/** CPU time of each thread so far, seconds, by the thread's number; none if it is gone. @param {number} pid @returns {Map<string, number>} */
export function cpuSecondsOfThreads(pid) {
  const threads = new Map();
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const used = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0];
      threads.set(thread, Number(used) / 1e9);
    }
  } catch {
    // A thread, or all of it, has ended.
  }
  return threads;
}

/** How often each thread slept and was woken so far, by the thread's number. @param {number} pid */
export function sleepsOfThreads(pid) {
  /** @type {Map<string, { name: string, sleeps: number }>} */
  const threads = new Map();
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      const status = readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8");
      const field = (/** @type {string} */ key) => new RegExp(`^${key}:\\s+(.*)$`, "m").exec(status)?.[1] ?? "";
      threads.set(thread, { name: field("Name"), sleeps: Number(field("voluntary_ctxt_switches")) });
    } catch {
      // It has ended.
    }
  }
  return threads;
}

/** @typedef {{ rss: number, pss: number }} Memory bytes resident; `pss`: pages shared with others count in part */

/** @param {readonly number[]} pids @returns {Memory | null} of all together; null if none could be read */
export function memory(pids) {
  const sum = { rss: 0, pss: 0 };
  for (const pid of pids) {
    try {
      const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
      const bytes = (/** @type {string} */ key) =>
        1024 * Number(new RegExp(`^${key}: +(\\d+) kB`, "m").exec(text)?.[1] ?? 0);
      sum.rss += bytes("Rss");
      sum.pss += bytes("Pss");
    } catch {
      // It has ended, or belongs to another user.
    }
  }
  return sum.rss > 0 ? sum : null;
}

/** Whether a process exists, and isn't only waiting to be waited for. @param {number} pid */
export function isAlive(pid) {
  const state = statFields(pid)?.[0];
  return state !== undefined && state !== "Z";
}

/** The fields of /proc/PID/stat from the state on (the third); undefined if it is gone. @param {number} pid */
function statFields(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The command's name stands in parentheses, and may itself hold spaces and parentheses.
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}
