/** The plain C server of fixtures/, under the preload library. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Child } from "../support/child.js";
import type { Folder } from "../support/folder.js";
import { until } from "../support/wait.js";

const native = fileURLToPath(new URL("../../native/build/preload", import.meta.url));
export const library = `${native}/libsnihandoff.so`;

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
