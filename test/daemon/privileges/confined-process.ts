/** A process that gives up its privileges, from a package of its own that may be replaced: confined.mjs. */
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach } from "vitest";
import type { PrivilegeSettings } from "../../../src/daemon/privileges/index.js";
import { Child } from "../../support/child.js";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const program = fileURLToPath(new URL("confined.mjs", import.meta.url));

export const isRoot = process.getuid!() === 0;
export const NOBODY = 65534;
/** Whom a confined process becomes: whoever runs the tests without being root stays itself. */
export const user: PrivilegeSettings["identity"] = isRoot ? { uid: NOBODY, gid: NOBODY, user: "nobody" } : undefined;
export const uid: number = isRoot ? NOBODY : process.getuid!();

const folders: string[] = [];
const processes: ConfinedProcess[] = [];
afterEach(async () => {
  for (const each of processes.splice(0)) await each.child.end("SIGKILL");
});
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A temporary folder that everybody may enter. */
export function publicFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "sni-handoff-privileges-"));
  folders.push(folder);
  chmodSync(folder, 0o755);
  return folder;
}

/** A copy of this package, with the program in it. */
export function installPackage(folder: string): void {
  mkdirSync(join(folder, "native", "build", "Release"), { recursive: true });
  cpSync(join(root, "dist"), join(folder, "dist"), { recursive: true });
  for (const file of ["package.json", "native/build/Release/sni_handoff.node"])
    cpSync(join(root, file), join(folder, file));
  cpSync(program, join(folder, "confined.mjs"));
}

export interface Told {
  readonly pid: number;
  readonly before: {
    readonly pid: number;
    readonly keep: [number, string][];
    readonly unreadable: { file: string; code: string }[];
  };
  readonly descriptors: [number, string][];
  readonly inForce: Record<string, unknown>;
}

export interface ConfinedOptions {
  readonly mode?: "bare" | "unable";
  /** A command that runs it. */
  readonly prefix?: readonly string[];
}

export class ConfinedProcess {
  readonly child: Child;
  readonly settings: string;

  /** `folder` gets a folder "modules" with the package, and one "etc" with the configuration. */
  constructor(
    folder: string,
    settings: Partial<PrivilegeSettings> & { probes?: string[] },
    options: ConfinedOptions = {},
  ) {
    const modules = join(folder, "modules", "sni-handoff");
    installPackage(modules);
    mkdirSync(join(folder, "etc"));
    this.settings = join(folder, "etc", "door.json");
    const complete = {
      file: this.settings,
      files: [this.settings],
      door: { backends: [] },
      relay: { folder: `${folder}/relay/`, start: true, backends: [] },
      identity: user,
      privileges: { landlock: true, keepBindService: false },
      ...settings,
    };
    writeFileSync(this.settings, JSON.stringify(complete));
    const args = [join(modules, "confined.mjs"), this.settings, ...(options.mode === undefined ? [] : [options.mode])];
    const [command, ...rest] = [...(options.prefix ?? []), process.execPath, ...args];
    this.child = new Child(command!, rest, { stdio: ["pipe", "pipe", "pipe"] });
    processes.push(this);
  }

  /** What it said first. */
  told(): Promise<Told> {
    return this.child.line("what it says", (line) => JSON.parse(line) as Told);
  }

  /** Its answer to a command. */
  async ask<T>(...command: unknown[]): Promise<T> {
    await this.told();
    const from = this.child.lines.length;
    this.child.process.stdin!.write(`${JSON.stringify(command)}\n`);
    return this.child
      .line(`the answer to ${command[0]}`, (line) => ({ answer: JSON.parse(line) as T }), from)
      .then(({ answer }) => answer);
  }
}
