/** Has system calls of a process fail while it runs: inject.c, preloaded, reads the file that this writes. */
import { execFileSync } from "node:child_process";
import { closeSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from "node:fs";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL(".", import.meta.url));
const names = [...readFileSync(`${folder}sites.h`, "utf8").matchAll(/X\((\w+)\)/g)].map(([, name]) => name!);

/** struct fault: error, first, every, calls, failed; before all of them the waits. */
const FAULT_BYTES = 20;
const FAULTS_AT = 12;
const CALLS_AT = 12;

/** Which calls fail: `first` from 1, then each `every`-th after it; 0: that one only. */
export interface Pattern {
  readonly first: number;
  readonly every: number;
}

export interface Failures {
  /** Calls since it was armed, and how many of them failed. */
  readonly calls: number;
  readonly failed: number;
}

/** Waits for events, of all threads. */
export interface Waits {
  /** All but those for V8's tasks. */
  readonly turns: number;
  readonly tasks: number;
  /** Of both: those that no event ended. */
  readonly empty: number;
}

/** Compiles the library into a folder; its path. */
export function compileInjector(into: string): string {
  const library = `${into}/inject.so`;
  const flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"];
  execFileSync("cc", [...flags, "-o", library, `${folder}inject.c`, "-ldl"], { stdio: ["ignore", "pipe", "pipe"] });
  return library;
}

export class Injector {
  /** Variables of the process. */
  readonly environment: Readonly<Record<string, string>>;
  private readonly file: number;

  /** `object`: whose calls fail, "" for all; see inject.c. */
  constructor(library: string, path: string, object: string) {
    writeFileSync(path, Buffer.alloc(FAULTS_AT + names.length * FAULT_BYTES));
    this.file = openSync(path, "r+");
    this.environment = { LD_PRELOAD: library, SNI_FAULTS: path, SNI_FAULTS_OBJECT: object };
  }

  /** The same as a command: ["env", "LD_PRELOAD=…"]. */
  get prefix(): string[] {
    return ["env", ...Object.entries(this.environment).map(([name, value]) => `${name}=${value}`)];
  }

  /** From now on. */
  arm(site: string, errno: string, { first, every }: Pattern): void {
    const at = offsetOf(site);
    this.write(at, [0, first, every, 0, 0]);
    // Last: it is what the library looks at first.
    this.write(at, [numberOf(errno)]);
  }

  /** From now on no call fails. What has failed since it was armed. */
  disarm(site: string): Failures {
    const at = offsetOf(site);
    this.write(at, [0]);
    const [calls, failed] = this.read(at + CALLS_AT, 2);
    return { calls: calls!, failed: failed! };
  }

  /** How often the process has waited for events so far. */
  get waits(): Waits {
    const [turns, tasks, empty] = this.read(0, 3);
    return { turns: turns!, tasks: tasks!, empty: empty! };
  }

  close(): void {
    closeSync(this.file);
  }

  private write(at: number, words: readonly number[]): void {
    writeSync(this.file, new Uint8Array(Uint32Array.from(words).buffer), 0, words.length * 4, at);
  }

  private read(at: number, count: number): Uint32Array {
    const words = new Uint32Array(count);
    readSync(this.file, new Uint8Array(words.buffer), 0, count * 4, at);
    return words;
  }
}

function offsetOf(site: string): number {
  const index = names.indexOf(site);
  if (index < 0) throw new Error(`sites.h has no ${site}`);
  return FAULTS_AT + index * FAULT_BYTES;
}

/** Errnos that node:os does not name: asm-generic/errno.h. */
const others: Readonly<Record<string, number>> = {
  ENONET: 64,
  ENOPKG: 65,
  ESOCKTNOSUPPORT: 94,
  ETOOMANYREFS: 109,
  EHOSTDOWN: 112,
};

export function numberOf(errno: string): number {
  const number = constants.errno[errno as keyof typeof constants.errno] ?? others[errno];
  if (number === undefined) throw new Error(`no errno ${errno}`);
  return number;
}
