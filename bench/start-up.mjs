/**
 * How long the door takes from exec to "ready", beside a bare `node -e 0`, in alternating runs.
 *
 *     node bench/start-up.mjs [--runs N] [--workers N] [--million] [--json]
 *
 * The configuration has 100 names and a control socket; with --million also a map of a million names.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { BenchFailure } from "./failure.mjs";
import { writeMap } from "./names.mjs";
import { ratio, summarize } from "./stats.mjs";
import { makeWorkspace } from "./workspace.mjs";

const program = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
const TICK = 10; // of clock_t in /proc, milliseconds

/** CPU time of the children that have ended, in milliseconds (proc_pid_stat(5): cutime, cstime). */
function usedByChildren() {
  const fields = readFileSync("/proc/self/stat", "latin1").split(") ")[1].split(" ");
  return (Number(fields[13]) + Number(fields[14])) * TICK;
}

/** CPU time of a process so far, all its threads, in milliseconds. @param {number} pid */
function usedBy(pid) {
  const tasks = readdirSync(`/proc/${pid}/task`);
  const used = tasks.map((task) => Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "latin1").split(" ")[0]));
  return used.reduce((sum, nanoseconds) => sum + nanoseconds, 0) / 1e6;
}

/** @typedef {{ wall: number, cpu: number }} Run milliseconds */

/** @returns {Promise<Run>} */
async function runBare() {
  const before = usedByChildren();
  const begun = performance.now();
  await once(spawn(process.execPath, ["-e", "0"], { stdio: "ignore" }), "exit");
  return { wall: performance.now() - begun, cpu: usedByChildren() - before };
}

/** @param {string} file @returns {Promise<Run>} */
async function runDoor(file) {
  const begun = performance.now();
  const door = spawn(process.execPath, [program, "serve", "--config", file], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(door, "exit");
  let output = "";
  for await (const text of door.stdout) {
    output += text;
    if (!output.includes('"event":"ready"')) continue;
    const result = { wall: performance.now() - begun, cpu: usedBy(Number(door.pid)) };
    door.kill("SIGTERM");
    await ended;
    return result;
  }
  throw new BenchFailure(`the door ended before it was ready: ${output}`);
}

/** @param {string} folder @param {number} workers @param {boolean} million @returns {Promise<string>} the configuration's file */
async function configure(folder, workers, million) {
  const names = Array.from({ length: 100 }, (_, index) => `  host-${index}.example: app`);
  const lines = [
    "listeners: [{ address: 127.0.0.1:0 }]",
    `workers: ${workers}`,
    `control: ${folder}/control.sock`,
    `backends: { app: { handoff: ${folder}/app.sock } }`,
    "routes:",
    ...names,
  ];
  if (million) {
    await writeMap(join(folder, "names.map"), 1_000_000, "app");
    lines.push("maps: [names.map]");
  }
  const file = join(folder, "door.yaml");
  writeFileSync(file, `${lines.join("\n")}\n`);
  return file;
}

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "15" },
    workers: { type: "string", default: "1" },
    million: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const { folder } = makeWorkspace();
const file = await configure(folder, Number(values.workers), values.million);
/** @type {Run[]} */
const bare = [];
/** @type {Run[]} */
const door = [];
await runDoor(file); // the file cache
for (let run = 0; run < Number(values.runs); run++) {
  bare.push(await runBare());
  door.push(await runDoor(file));
}
const mean = (/** @type {number[]} */ list) => list.reduce((sum, value) => sum + value, 0) / list.length;
const of = (/** @type {Run[]} */ list, /** @type {keyof Run} */ key) => list.map((each) => each[key]);
const walls = { bare: summarize(of(bare, "wall")), door: summarize(of(door, "wall")) };
const cpu = { bare: mean(of(bare, "cpu")), door: summarize(of(door, "cpu"))?.median ?? 0 };
const times = ratio(of(door, "wall"), of(bare, "wall"));
if (values.json) {
  console.log(JSON.stringify({ names: values.million ? 1_000_100 : 100, walls, cpu, ratio: times }));
} else {
  const text = (/** @type {import("./stats.mjs").Summary | null} */ summary, digits = 0, unit = " ms") => {
    const [median, min, max] = [summary?.median, summary?.min, summary?.max].map((value) => value?.toFixed(digits));
    return `${median}${unit} (${min} to ${max})`;
  };
  console.log(`node -e 0     ${text(walls.bare)}, CPU ${cpu.bare.toFixed(0)} ms`);
  console.log(`door ready    ${text(walls.door)}, CPU ${cpu.door.toFixed(0)} ms`);
  console.log(`ratio         ${text(times, 2, "")}, median of the runs' own`);
}
