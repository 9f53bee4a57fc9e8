/** The package as it would be published, binaries and all: made in a copy of this clone, which stays as it is. */
import { execFile, execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { peer, peersFolder } from "../interop/support/peers.js";

export const root = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");
const run = promisify(execFile);

/** What `npm pack --json` says of the package. */
export interface Packed {
  readonly filename: string;
  readonly integrity: string;
  readonly files: readonly { readonly path: string; readonly mode: number }[];
}

export class Published {
  /** Everything that is made is in here. */
  readonly folder: string = mkdtempSync(join(tmpdir(), "sni-handoff-package-"));
  /** The copy of the clone. */
  readonly clone: string = join(this.folder, "clone");

  constructor() {
    // Else npm would install in the copy, through the link.
    execFileSync(process.execPath, [join(root, "src/prepare.mjs")]);
    mkdirSync(this.clone);
    const names = readdirSync(root).filter((name) => ![".git", "node_modules"].includes(name));
    // With the times of the files to the nanosecond, by which prepare.mjs knows what is up to date.
    execFileSync("cp", ["-a", ...names.map((name) => join(root, name)), this.clone]);
    rmSync(join(this.clone, "native/prebuilt"), { recursive: true, force: true });
    symlinkSync(join(root, "node_modules"), join(this.clone, "node_modules"));
  }

  /** Builds the binaries of all platforms; in the copy, unless `out` names another folder. */
  async prebuild(out?: string, cache = "zig-cache"): Promise<void> {
    const env = {
      ...process.env,
      ZIG: peer("zig"),
      ZIG_GLOBAL_CACHE_DIR: join(peersFolder, "zig-cache"),
      // What was compiled before is not compiled again, unless another folder is named.
      ZIG_LOCAL_CACHE_DIR: join(cache === "zig-cache" ? peersFolder : this.folder, cache),
    };
    const args = [join(this.clone, "native/prebuild.mjs"), ...(out === undefined ? [] : ["--out", out])];
    await run(process.execPath, args, { env });
  }

  async pack(name: string): Promise<Packed> {
    const destination = this.at(name);
    mkdirSync(destination);
    const { stdout } = await npm(["pack", "--json", "--pack-destination", destination], this.clone);
    const [packed] = JSON.parse(stdout.slice(stdout.indexOf("["))) as [Packed];
    return { ...packed, filename: join(destination, packed.filename) };
  }

  /** What is in a package, as it is. */
  async unpack({ filename }: Packed, name: string): Promise<string> {
    const folder = this.at(name);
    mkdirSync(folder);
    await run("tar", ["-xzf", filename, "-C", folder, "--strip-components=1"]);
    return folder;
  }

  at(name: string): string {
    return join(this.folder, name);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** npm, as it is installed here. What its configuration for the suite's own run says is not passed on. */
export function npm(
  args: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<{ stdout: string; stderr: string }> {
  const clean = Object.fromEntries(
    Object.entries(env).filter(([name]) => !/^npm_(config_prefix|lifecycle|package)/.test(name)),
  );
  return run(process.execPath, [npmScript(), ...args], { cwd, env: clean, maxBuffer: 1 << 26 });
}

function npmScript(): string {
  const named = process.env.npm_execpath;
  return named !== undefined && /npm-cli\.js$/.test(named) ? named : realpathSync(join(process.execPath, "../npm"));
}

/** A folder for PATH with Node, a shell and nothing that compiles. */
export function withoutCompiler(folder: string): NodeJS.ProcessEnv {
  mkdirSync(folder);
  symlinkSync(process.execPath, join(folder, "node"));
  symlinkSync("/bin/sh", join(folder, "sh"));
  const { CC: _, npm_config_python: __, PYTHON: ___, ...env } = process.env;
  return { ...env, PATH: folder };
}
