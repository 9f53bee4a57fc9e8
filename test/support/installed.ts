/** The program as installed somewhere else, so that a test can replace it. */
import { cpSync, mkdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

export class Installed {
  readonly folder: string;
  /** What `node` is to run. */
  readonly program: string;
  private versions = 0;

  constructor(parent: string) {
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
    symlinkSync(join(root, "node_modules"), join(fresh, "node_modules"));
    if (main !== undefined) writeFileSync(join(fresh, "dist", "cli", "main.js"), main);
    try {
      renameSync(this.folder, `${fresh}.before`);
    } catch {} // the first one
    renameSync(fresh, this.folder);
  }
}
