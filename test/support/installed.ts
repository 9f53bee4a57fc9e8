/** The program as installed somewhere else, so that a test can replace it. */
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

export interface InstalledOptions {
  /** Has what it depends on within it, so that it needs nothing of this project's folder. */
  readonly whole?: boolean;
}

export class Installed {
  readonly folder: string;
  /** What `node` is to run. */
  readonly program: string;
  private readonly whole: boolean;
  private versions = 0;

  constructor(parent: string, { whole = false }: InstalledOptions = {}) {
    this.whole = whole;
    this.folder = join(parent, "installed");
    this.program = join(this.folder, "dist", "cli", "main.js");
    this.replace();
  }

  /** Puts a fresh copy in the place of what is there, as a package manager does. With `main`, that is the program's first file. */
  replace(main?: string): void {
    const fresh = `${this.folder}.${++this.versions}`;
    mkdirSync(join(fresh, "native", "build"), { recursive: true });
    cpSync(join(root, "dist"), join(fresh, "dist"), { recursive: true });
    cpSync(join(root, "package.json"), join(fresh, "package.json"));
    cpSync(join(root, "native/build/Release"), join(fresh, "native/build/Release"), { recursive: true });
    const modules = join(fresh, "node_modules");
    if (this.whole) copyTree(join(root, "node_modules"), modules);
    else symlinkSync(join(root, "node_modules"), modules);
    if (main !== undefined) writeFileSync(join(fresh, "dist", "cli", "main.js"), main);
    try {
      renameSync(this.folder, `${fresh}.before`);
    } catch {} // the first one
    renameSync(fresh, this.folder);
  }

  /** A service loads the modules of dist/ from now on, one by one: a test may have changed some. */
  unbundle(): void {
    rmSync(join(this.folder, "dist", "service"), { recursive: true });
  }
}

/** As hard links if it is on the same file system. */
function copyTree(from: string, to: string): void {
  try {
    execFileSync("cp", ["-al", from, to], { stdio: "ignore" });
  } catch {
    cpSync(from, to, { recursive: true, verbatimSymlinks: true });
  }
}
