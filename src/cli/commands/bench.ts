import type { Command } from "../command.js";
import { ExitStatus } from "../exit.js";

interface BenchModule {
  /** Takes the arguments behind `bench`. */
  run(args: readonly string[]): Promise<unknown>;
}

/** Never called through yargs, which would judge the benchmark's own options: `run.ts` passes them on as they are. */
export async function runBench(args: readonly string[]): Promise<ExitStatus> {
  const { run } = (await import(new URL("../../../bench/main.mjs", import.meta.url).href)) as BenchModule;
  const status = await run(args);
  return typeof status === "number" ? (status as ExitStatus) : ExitStatus.DONE;
}

export const bench: Command = {
  usage: "bench [arguments..]",
  describe: "Measure on this machine: see `bench --help`",
  run: () => runBench([]),
};
