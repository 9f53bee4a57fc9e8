/**
 * `sni-handoff bench`: checks the machine, compiles what is missing, runs scenarios, reports.
 *
 * Also runs by itself from a clone: node bench/main.mjs handoff --quick
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { compilePrograms } from "./compile.mjs";
import { BenchFailure } from "./failure.mjs";
import { describeMachine, machineText } from "./machine.mjs";
import { peersText } from "./peers.mjs";
import { checkLimits } from "./preflight.mjs";
import { stopAll } from "./process.mjs";
import { compareFiles } from "./report/compare.mjs";
import { checkFiles, writeFiles } from "./report/files.mjs";
import * as bulk from "./scenarios/bulk.mjs";
import * as burst from "./scenarios/burst.mjs";
import * as handoff from "./scenarios/handoff.mjs";
import * as idle from "./scenarios/idle.mjs";
import * as log from "./scenarios/log.mjs";
import * as names from "./scenarios/names.mjs";
import * as open from "./scenarios/open.mjs";
import * as pauses from "./scenarios/pauses.mjs";
import * as preload from "./scenarios/preload.mjs";
import * as restart from "./scenarios/restart.mjs";
import * as slow from "./scenarios/slow.mjs";
import * as split from "./scenarios/split.mjs";
import * as tls from "./scenarios/tls.mjs";
import * as workers from "./scenarios/workers.mjs";
import { makeWorkspace } from "./workspace.mjs";

/** @type {Record<string, Scenario>} */
const scenarios = { handoff, open, tls, names, split, bulk, preload, slow, pauses, restart, burst, workers, log, idle };

/**
 * @typedef {object} Scenario
 * @property {string} description
 * @property {{ full: Preset, quick: Preset }} defaults
 * @property {readonly { name: string }[]} contestants what --only can choose from
 * @property {number} mostClients at the same time
 * @property {number} [descriptorsPerClient] that one process may need, 1 if absent
 * @property {readonly { name: string, title: string, descriptors?: number }[]} [routers] that may have fewer clients than
 *   the others, if they need more descriptors for each
 * @property {number} [fewestClients] with which it can be run at all, 64 if absent
 * @property {(context: Context) => Promise<import("./report/result.mjs").Results>} run prints its report; the results, for JSON
 *
 * @typedef {{ rounds: number, duration: number }} Preset `duration` of a round, in seconds
 *
 * @typedef {object} Options as on the command line
 * @property {string[]} [scenarios] names; `list` prints what there is, `peers` which other routers are here, `compare` what
 *   changed between two files of `json`
 * @property {string} [json] file for the results
 * @property {string} [html] file for the report as a page
 * @property {number} [rounds]
 * @property {number} [duration] seconds per round
 * @property {number} [threads] of the load generator; one per core, at most 4, if absent
 * @property {string[]} [only] contestants to run; all if absent
 * @property {boolean} [quick] short rounds, fewer cases
 * @property {string} [command] the line that was typed, for the report
 *
 * @typedef {object} Context what a scenario gets
 * @property {import("./compile.mjs").Programs} programs
 * @property {string} folder for files and sockets, removed at the end
 * @property {import("./preflight.mjs").Limits} limits
 * @property {number} cores
 * @property {number} threads of the load generator
 * @property {boolean} quick
 * @property {number} rounds
 * @property {number} duration seconds
 * @property {number} warmUp seconds
 * @property {(name: string) => boolean} takesPart
 * @property {AbortSignal} signal Ctrl-C: print what there is
 * @property {(text: string) => void} print to the report
 * @property {(text: string) => void} progress what it does now
 */

/**
 * Runs the benchmark. Prints the report to standard output, progress and complaints to standard error.
 *
 * @param {Options} options
 * @returns {Promise<number>} exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted
 */
export async function run(options) {
  const interruption = new AbortController();
  const interrupt = () => {
    // The second time, at once: what still runs is killed as this process ends.
    if (interruption.signal.aborted) {
      process.exit(130);
    }
    interruption.abort();
  };
  // Nobody reads the report any more (a pipe into head). Stays: the error may come after the end.
  process.on("SIGINT", interrupt);
  process.on("SIGTERM", interrupt);
  process.stdout.on("error", () => interruption.abort());
  try {
    return await runScenarios(options, interruption.signal);
  } catch (error) {
    if (interruption.signal.aborted) {
      return 130;
    }
    if (error instanceof BenchFailure) {
      process.stderr.write(`${error.message}\n`);
      return error.status;
    }
    throw error;
  } finally {
    await stopAll();
    process.off("SIGINT", interrupt);
    process.off("SIGTERM", interrupt);
  }
}

/** @param {Options} options @param {AbortSignal} signal @returns {Promise<number>} */
async function runScenarios(options, signal) {
  const names = options.scenarios ?? [];
  if (names.includes("list")) {
    process.stdout.write(listText());
    return 0;
  }
  if (names.includes("peers")) {
    process.stdout.write(peersText());
    return 0;
  }
  if (names[0] === "compare") {
    await compareFiles(names.slice(1), (text) => process.stdout.write(text));
    return 0;
  }
  const chosen = checkOptions(names, options);
  checkFiles(options);
  const machine = describeMachine(options.command ?? `sni-handoff bench ${names.join(" ")}`);
  const limits = await Promise.all(
    chosen.map(([, scenario]) =>
      checkLimits(scenario.mostClients, {
        perClient: scenario.descriptorsPerClient,
        routers: scenario.routers?.filter(({ name }) => options.only?.includes(name) ?? true),
        fewest: scenario.fewestClients,
      }),
    ),
  );
  const notes = new Set(limits.flatMap((each) => each.notes));
  const programs = await compilePrograms();
  const print = (/** @type {string} */ text) => {
    clearProgress();
    process.stdout.write(text);
  };
  print(`${machineText(machine)}${[...notes].map((note) => `${note}\n`).join("")}\n`);
  /** @type {import("./report/page.mjs").Report["results"]} */
  const results = {};
  /** @type {unknown} */
  let failure;
  for (const [index, [name, scenario]] of chosen.entries()) {
    const preset = scenario.defaults[options.quick ? "quick" : "full"];
    const duration = options.duration ?? preset.duration;
    const { description } = scenario;
    const workspace = makeWorkspace();
    try {
      const result = await scenario.run({
        ...{ programs, folder: workspace.folder, limits: limits[index], signal, print, progress },
        ...{
          cores: machine.cores,
          threads: options.threads ?? Math.min(machine.cores, 4),
          quick: options.quick ?? false,
        },
        ...{ rounds: options.rounds ?? preset.rounds, duration, warmUp: Math.min(0.5, duration / 4) },
        takesPart: (contestant) => options.only === undefined || options.only.includes(contestant),
      });
      results[name] = { description, ...result };
    } catch (error) {
      failure = error;
    } finally {
      clearProgress();
      await stopAll();
      workspace.remove();
    }
    if (signal.aborted || failure !== undefined) {
      break;
    }
  }
  // Of the scenarios before one that failed, too: they may have taken an hour.
  await writeFiles(options, { machine, interrupted: signal.aborted, results });
  if (signal.aborted) {
    print("Interrupted: the figures above are all there are.\n");
    return 130;
  }
  if (failure !== undefined) {
    throw failure;
  }
  return 0;
}

/** @param {string[]} names @param {Options} options @returns {[string, Scenario][]} @throws {BenchFailure} */
function checkOptions(names, options) {
  const wrong = (/** @type {string} */ message) => new BenchFailure(message, { status: 2 });
  if (names.length === 0) {
    throw wrong(`Which scenario?\n${listText()}`);
  }
  for (const name of names) {
    if (!Object.hasOwn(scenarios, name)) {
      throw wrong(`There is no scenario "${name}".\n${listText()}`);
    }
  }
  const chosen = names.map((name) => /** @type {[string, Scenario]} */ ([name, scenarios[name]]));
  const known = new Set(chosen.flatMap(([, scenario]) => scenario.contestants.map(({ name }) => name)));
  for (const name of options.only ?? []) {
    if (!known.has(name)) {
      throw wrong(
        `There is no contestant "${name}" in ${names.join(", ")}; there are ${[...known].join(", ") || "none"}.`,
      );
    }
  }
  const { rounds, duration, threads } = options;
  if (rounds !== undefined && !(Number.isInteger(rounds) && rounds >= 1 && rounds <= 1000)) {
    throw wrong(`--rounds is ${rounds}; it must be a whole number from 1 to 1000.`);
  }
  if (duration !== undefined && !(duration >= 0.1 && duration <= 600)) {
    throw wrong(`--duration is ${duration}; it must be seconds from 0.1 to 600.`);
  }
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= 64)) {
    throw wrong(`--threads is ${threads}; it must be a whole number from 1 to 64.`);
  }
  return chosen;
}

function listText() {
  return Object.entries(scenarios)
    .map(([name, { description }]) => `  ${name.padEnd(10)} ${description}\n`)
    .join("");
}

/** One line that is written over on a terminal; nothing elsewhere, where lines of progress would bury the report. */
function progress(/** @type {string} */ text) {
  if (process.stderr.isTTY) {
    process.stderr.write(`\r\x1b[2K${text.slice(0, (process.stderr.columns ?? 80) - 1)}`);
  }
}

function clearProgress() {
  if (process.stderr.isTTY) {
    process.stderr.write("\r\x1b[2K");
  }
}

/** Of this program; ends it if it is wrong. */
function commandLine() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        json: { type: "string" },
        html: { type: "string" },
        rounds: { type: "string" },
        duration: { type: "string" },
        threads: { type: "string" },
        only: { type: "string", multiple: true },
        quick: { type: "boolean" },
      },
    });
  } catch (error) {
    process.stderr.write(`${/** @type {Error} */ (error).message}\n`);
    process.exit(2);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = commandLine();
  process.exitCode = await run({
    scenarios: positionals,
    command: ["node bench/main.mjs", ...process.argv.slice(2)].join(" "),
    ...(values.json === undefined ? {} : { json: values.json }),
    ...(values.html === undefined ? {} : { html: values.html }),
    ...(values.rounds === undefined ? {} : { rounds: Number(values.rounds) }),
    ...(values.duration === undefined ? {} : { duration: Number(values.duration) }),
    ...(values.threads === undefined ? {} : { threads: Number(values.threads) }),
    ...(values.only === undefined ? {} : { only: values.only.flatMap((names) => names.split(",")) }),
    ...(values.quick === undefined ? {} : { quick: values.quick }),
  });
}
