/** Code that is put into a door or a relay to try what an intruder would: fixtures/intruder.c, and README.md's table of what comes of it. */
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, realpathSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { isLoader, mappedLibraries } from "../../src/daemon/privileges/facts.js";
import { Child } from "../support/child.js";

const fixtures = fileURLToPath(new URL("fixtures", import.meta.url));

/** What came of each thing that was tried: "done", the name of an errno, or "killed" by a filter. */
export type Results = Readonly<Record<string, string>>;

export interface Intruded {
  readonly event: "intruded";
  readonly pid: number;
  readonly thread: "main" | "worker";
  readonly results: Results;
}

/** What is to be reached: the arguments of fixtures/targets.mjs, and what it prints. */
export interface Targets {
  readonly outside: string;
  readonly port: number;
  readonly udp: number;
  readonly victim: number;
}

/** As shell words: with it cc(1) makes the addon in a folder, of this Node's headers in another. */
export function compilation(source: string, folder: string, node: string): string[] {
  const flags = ["-shared", "-fPIC", "-O1", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE"];
  return ["cc", ...flags, "-I", join(node, "include", "node"), "-o", join(folder, "intruder.node"), source];
}

export class Intruder {
  private readonly folder: string;

  /** In a new folder within one that the process to be may read. */
  constructor(parent: string) {
    this.folder = join(parent, "intruder");
    mkdirSync(this.folder);
    const node = join(dirname(realpathSync(process.execPath)), "..");
    const [command, ...args] = compilation(join(fixtures, "intruder.c"), this.folder, node);
    execFileSync(command!, args, { stdio: ["ignore", "inherit", "inherit"] });
    cpSync(join(fixtures, "intruder.cjs"), join(this.folder, "intruder.cjs"));
  }

  get addon(): string {
    return join(this.folder, "intruder.node");
  }

  /** NODE_OPTIONS that put it into a process. */
  get options(): string {
    return `--require=${join(this.folder, "intruder.cjs")}`;
  }

  /** From now on it does its work. */
  loose(targets: Targets, files: { readonly package: string; readonly configuration: string }): void {
    const file = join(this.folder, "targets.json");
    writeFileSync(`${file}.new`, aims(targets, files));
    renameSync(`${file}.new`, file);
  }
}

/** targets.json. */
export function aims(targets: Targets, files: { readonly package: string; readonly configuration: string }): string {
  const loader = realpathSync(mappedLibraries(readFileSync("/proc/self/maps", "utf8")).find(isLoader)!);
  return JSON.stringify({ ...targets, ...files, loader, program: realpathSync("/bin/true") });
}

export class TargetsProcess {
  readonly child: Child;

  constructor(folder: string, uid: number) {
    const program = join(fixtures, "targets.mjs");
    this.child = new Child(process.execPath, [program, folder, String(uid)], { stdio: ["pipe", "pipe", "pipe"] });
  }

  targets(): Promise<Targets> {
    return this.child.line("the targets", (line) => JSON.parse(line) as Targets);
  }

  async end(): Promise<void> {
    this.child.process.stdin!.end();
    await this.child.ended;
  }
}

/** README.md's table: the cells of a column, by what was tried. */
export function promised(column: string): Results {
  const lines = readFileSync(new URL("README.md", import.meta.url), "utf8").split("\n");
  const rows = lines.filter((line) => line.startsWith("| ")).map((line) => line.split("|").map((cell) => cell.trim()));
  const head = rows.find((cells) => cells.includes("what is tried") && cells.includes(column));
  if (head === undefined) throw new Error(`README.md has no column "${column}"`);
  const at = head.indexOf(column);
  const entries = rows.flatMap((cells) => {
    const name = /^`(\w+)`$/.exec(cells[1]!)?.[1];
    return name === undefined ? [] : [[name, cells[at]!] as const];
  });
  return Object.fromEntries(entries);
}

/** What says no, or that there is no such thing to be had; anything else means that the attempt itself went wrong. */
const refusals = new Set(
  "EPERM EACCES EROFS EXDEV EAFNOSUPPORT EPROTONOSUPPORT EOPNOTSUPP ENOSYS ENOENT killed".split(" "),
);

/** What is not as README.md promises. (A kernel that refuses more than that is none the worse.) */
export function broken(results: Results, column: string): string[] {
  const cells = Object.entries(promised(column));
  const unknown = Object.keys(results).filter((name) => !cells.some(([known]) => known === name));
  return [
    ...unknown.map((name) => `${name} is not in the table: ${results[name]}`),
    ...cells.flatMap(([name, cell]) => {
      const result = results[name];
      if (result === cell || (cell === "done" && refusals.has(result!))) return [];
      if (cell !== "done" && refusals.has(result!)) return [];
      return [`${name}: ${result}; promised is ${cell}`];
    }),
  ];
}
