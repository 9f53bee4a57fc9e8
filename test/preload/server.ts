/** The plain C server of fixtures/, under the preload library. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Child } from "../support/child.js";
import type { Folder } from "../support/folder.js";
import { isAlive } from "../support/process-status.js";
import { until } from "../support/wait.js";

const native = fileURLToPath(new URL("../../native/build/preload", import.meta.url));
export const library = `${native}/libsnihandoff.so`;

/**
 * After 150 ms the helper acknowledges what waits in a queue (TICK_MILLISECONDS of native/preload/helper/main.c). A server
 * that took longer to die may have left it time for that, by right.
 */
export const UNREAD_FOR_SURE = 140;

/** Compiles it, or another of fixtures/; the program's path. */
export function compileServer(folder: Folder, name = "epoll-server"): string {
  const program = folder.at(name);
  const source = fileURLToPath(new URL(`fixtures/${name}.c`, import.meta.url));
  execFileSync("cc", ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-o", program, source]);
  return program;
}

/** What it says in one line. */
export type Said = Readonly<Record<string, string | number>>;

export class Server {
  readonly child: Child;
  readonly path: string;

  /** `environment` replaces or adds variables. What this process is preloaded with (a sanitizer) comes first. */
  constructor(
    program: string,
    path: string,
    args: readonly string[],
    environment: NodeJS.ProcessEnv = {},
    input: "ignore" | "pipe" = "ignore",
  ) {
    this.path = path;
    const preloaded = [process.env.LD_PRELOAD, library].filter(Boolean).join(":");
    const env = { LD_PRELOAD: preloaded, ...environment };
    this.child = new Child(program, args, { env, stdio: [input, "pipe", "pipe"] });
  }

  get said(): Said[] {
    return this.child.lines.map((line) => JSON.parse(line) as Said);
  }

  serving(): Promise<true> {
    return this.child.line("serving", (line) => line.includes('"serving"'));
  }

  /** Processes that hold the path: the helper and its keeper. */
  helpers(): number[] {
    return processesOf(this.path);
  }

  helper(name: "helper" | "keeper"): Promise<number> {
    return until(`the ${name}`, () =>
      this.helpers().find((pid) => commandOf(pid)?.includes(`sni-handoff-${name}`) ?? false),
    );
  }

  /** Kills the server alone; resolves when it has ended. */
  async die(): Promise<void> {
    const ended = once(this.child.process, "exit");
    this.child.process.kill("SIGKILL");
    await ended;
  }

  /** Kills it and its helpers, so that nobody removes its path. */
  async dieWithHelpers(): Promise<void> {
    for (const name of ["keeper", "helper"] as const) process.kill(await this.helper(name), "SIGSTOP");
    await this.die();
    const helpers = this.helpers();
    for (const pid of helpers) process.kill(pid, "SIGKILL");
    await until("the helpers' end", () => !helpers.some(isAlive));
  }

  /** Kills it; resolves when its helper has ended, too. */
  async kill(): Promise<void> {
    await this.child.end("SIGKILL");
    await until("the helper's end", () => this.helpers().length === 0);
  }
}

function processesOf(path: string): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => pid > 0 && programOf(pid)?.startsWith(`${native}/sni-handoff-helper`))
    .filter((pid) => commandOf(pid)?.includes(path));
}

function programOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return undefined; // ended since
  }
}

function commandOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1");
  } catch {
    return undefined;
  }
}
