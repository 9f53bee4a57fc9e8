/** Runs a C target for a while. */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compile, targets } from "./targets.mjs";

const here = dirname(fileURLToPath(import.meta.url));

/** Files "NAME*.hex" in seeds/: bytes in hexadecimal; from "#" on a comment. As files of their own in `folder`; their names. */
export function writeSeeds(name, folder) {
  const names = readdirSync(join(here, "seeds")).filter((file) => file.startsWith(`${name}.`));
  for (const file of names) {
    const text = readFileSync(join(here, "seeds", file), "latin1").replaceAll(/#.*/g, "");
    writeFileSync(join(folder, file), Buffer.from(text.replaceAll(/\s/g, ""), "hex"));
  }
  return names;
}

/** Runs a program; what it wrote, and how it ended. */
function run(program, args, environment) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, ...environment },
    });
    let output = "";
    child.stderr.setEncoding("latin1").on("data", (text) => {
      output = (output + text).slice(-200_000);
    });
    child.on("error", reject);
    child.on("close", (status, signal) => resolve({ output, status: status ?? signal }));
  });
}

/**
 * Fuzzes a target of targets.mjs for so many `seconds` or `runs` from a `seed` (1 to 2^32 - 1). Resolves to the number of
 * executions, and of what failed the report, which names the input's file; that stays.
 */
export async function fuzz(name, { seconds = 0, runs = -1, seed, kind = "address" }) {
  const { longest } = targets[name];
  const program = await compile(name, kind);
  const work = mkdtempSync(join(tmpdir(), "sni-handoff-fuzz-"));
  const corpus = join(work, "corpus");
  mkdirSync(corpus);
  writeSeeds(name, corpus);
  const options = {
    seed,
    runs,
    max_total_time: seconds,
    max_len: longest,
    timeout: 30,
    rss_limit_mb: 4096,
    artifact_prefix: `${work}/`,
    print_final_stats: 1,
    use_value_profile: 1,
    // Names of functions come from a symbolizer, whose pipes would count as descriptors of the target.
    print_funcs: 0,
  };
  const args = Object.entries(options).map(([option, value]) => `-${option}=${value}`);
  const { output, status } = await run(program, [...args, corpus], environment);
  const executions = Number(/stat::number_of_executed_units:\s*(\d+)/.exec(output)?.[1] ?? 0);
  const coverage = Number([...output.matchAll(/ cov: (\d+) /g)].at(-1)?.[1] ?? 0);
  if (status === 0) {
    rmSync(work, { recursive: true });
    return { executions, coverage };
  }
  // Without libFuzzer's lines about inputs that brought new coverage.
  const report = output.replaceAll(/^#\d+\s.*\n/gm, "");
  return { executions, coverage, failure: { status, report } };
}

/** Leaks are looked for too. What a name service or the like allocates once is not ours. */
const environment = { ASAN_OPTIONS: "detect_leaks=1:abort_on_error=0", UBSAN_OPTIONS: "print_stacktrace=1" };

/** Runs a target with one input, as a failure left it. Resolves to its report; `status` is 0 if nothing failed. */
export async function replay(name, file, kind = "address") {
  return run(await compile(name, kind), [file], environment);
}
