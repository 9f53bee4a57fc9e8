/** The fuzzer: jazzer.js, which is libFuzzer for JavaScript. test/interop/install.sh installs it. */
import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

const peers = process.env.SNI_HANDOFF_PEERS ?? join(homedir(), ".cache", "sni-handoff-peers");

/** Milliseconds for one input: far more than any needs, far less than a loop that does not end. */
const TIMEOUT = 20_000;
/** MiB of a process, of which Node itself takes some hundred. */
const MEMORY = 2048;

/** How to run it: it needs a newer glibc than some systems have, which is then beside them (ld.so(8)). */
function command() {
  const cli = join(peers, "npm-jazzer/node_modules/@jazzer.js/core/dist/cli.js");
  if (!existsSync(cli)) throw new Error("fuzzing needs jazzer.js: bash test/interop/install.sh jazzer");
  const glibc = join(peers, "glibc");
  if (!existsSync(glibc)) return [process.execPath, cli];
  const [libraries] = readdirSync(join(glibc, "usr/lib"))
    .filter((name) => name.endsWith("-linux-gnu"))
    .map((name) => join(glibc, "usr/lib", name));
  const loader = readdirSync(libraries).find((name) => name.startsWith("ld-linux"));
  return [join(libraries, loader), "--library-path", libraries, process.execPath, cli];
}

/**
 * Fuzzes one bundled target; resolves to how it ended and what was counted.
 *
 * `corpus`: a folder where inputs with new coverage are put; `seeds`: one that is only read; `found`: where what breaks
 * something is put, a file's name following.
 */
export function fuzz({ file, isAsync, corpus, seeds, dictionary, found, seconds, runs, seed, maxLength }) {
  const [program, ...first] = command();
  const args = [file, corpus, seeds, ...(isAsync ? [] : ["--sync"]), "--timeout", String(TIMEOUT)];
  // Its own ideas of what is wrong: a connection by HTTP, a path from outside. Both are what this program is for.
  args.push("--disableBugDetectors", "ssrf", "--disableBugDetectors", "path-traversal");
  const instrumented = ["--includes", "/src.cjs", "--excludes", "node_modules"];
  const fuzzer = [`-seed=${seed}`, `-max_len=${maxLength}`, `-artifact_prefix=${found}`, `-rss_limit_mb=${MEMORY}`];
  if (dictionary !== undefined) fuzzer.push(`-dict=${dictionary}`);
  if (seconds !== undefined) fuzzer.push(`-max_total_time=${seconds}`);
  if (runs !== undefined) fuzzer.push(`-runs=${runs}`);
  const options = ["--", ...fuzzer, "-print_final_stats=1"];
  const child = spawn(program, [...first, ...args, ...instrumented, ...options], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text) => {
      output += text;
    });
  }
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status, signal) => {
      const last = (pattern) => Number([...output.matchAll(pattern)].at(-1)?.[1] ?? 0);
      resolve({
        isRight: status === 0,
        how: signal ?? `status ${status}`,
        executions: last(/^stat::number_of_executed_units:\s+(\d+)/gm) || last(/^#(\d+)\s/gm),
        coverage: last(/ cov: (\d+) /g),
        output,
      });
    });
  });
}
