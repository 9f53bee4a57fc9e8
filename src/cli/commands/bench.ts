import type { Command } from "../command.js";

/** bench/main.mjs, which lies beside dist/ and is not compiled. */
interface BenchModule {
  run(options: Readonly<Record<string, unknown>>): Promise<number>;
}

export const bench: Command = {
  usage: "bench [scenarios..]",
  describe: "Measure on this machine; without a scenario: lists them",
  positionals: {
    scenarios: {
      type: "string",
      array: true,
      describe:
        "What to measure: handoff, open, tls, names, split, bulk, preload, slow, pauses, restart, burst, workers, log, idle; or list; or peers: which other routers are here; or compare and two files of --json. Default: list",
    },
  },
  options: {
    quick: { type: "boolean", describe: "Short rounds, fewer cases. Default: false" },
    rounds: { type: "number", requiresArg: true, describe: "Rounds, 1 to 1000. Default: the scenario's" },
    duration: { type: "number", requiresArg: true, describe: "Seconds a round, 0.1 to 600. Default: the scenario's" },
    threads: {
      type: "number",
      requiresArg: true,
      describe: "Threads of the load generator, 1 to 64. Default: one a core, at most 4",
    },
    only: {
      type: "string",
      array: true,
      requiresArg: true,
      describe: "Contestants, or cases, that take part. Default: all",
    },
    json: { type: "string", requiresArg: true, describe: "File to write the results to. Default: none is written" },
    html: {
      type: "string",
      requiresArg: true,
      describe: "File to write the report to, as a page with charts. Default: none is written",
    },
  },
  examples: [
    ["$0 bench handoff --quick", ""],
    ["$0 bench compare before.json after.json", "What changed beyond noise"],
  ],
  async run({ scenarios, quick, rounds, duration, threads, only, json, html }) {
    const module = (await import(new URL("../../../bench/main.mjs", import.meta.url).href)) as BenchModule;
    const names = (scenarios as string[] | undefined) ?? [];
    const given = {
      quick,
      rounds,
      duration,
      threads,
      only: (only as string[] | undefined)?.flatMap((each) => each.split(",")),
      json,
      html,
    };
    return module.run({
      scenarios: names.length > 0 ? names : ["list"],
      command: ["sni-handoff", ...process.argv.slice(2)].join(" "),
      ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
    });
  },
};
