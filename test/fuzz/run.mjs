/**
 *     npm run fuzz -- [--seconds N] [--runs N] [--seed N] [--corpus FOLDER] [TARGET…]
 *     npm run fuzz -- --replay FILE TARGET
 *     npm run fuzz -- --memory [TARGET…]
 *     npm run fuzz -- --list
 *
 * Fuzzes each target for N seconds (10 if nothing is said) or executions, and says how many there were. The same seed and
 * --runs give the same inputs. An input that breaks something is kept, and said how to try again. Exit status: 0 nothing
 * was found, 1 something was, 2 wrong usage. Targets in C (native/) are called c-NAME; --memory runs them with
 * MemorySanitizer, those that can be built with it.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { bundle } from "./bundle.mjs";
import { fuzz } from "./jazzer.mjs";
import { fuzz as fuzzNative, replay as replayNative } from "./native/fuzz.mjs";
import { targets as nativeTargets } from "./native/targets.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = fileURLToPath(new URL(".", import.meta.url));
const inJavaScript = readdirSync(join(folder, "targets"))
  .map((name) => name.replace(/\.ts$/, ""))
  .sort();
const IN_C = "c-";
const inC = Object.keys(nativeTargets).map((name) => `${IN_C}${name}`);
const all = [...inJavaScript, ...inC];
const nativeName = (target) => target.slice(IN_C.length);
/** Longest input, in bytes, where a target says nothing else. */
const MAX_LENGTH = 1024;

class UsageError extends Error {}

function readArguments() {
  const whole = { type: "string" };
  const options = { seconds: whole, runs: whole, seed: whole, corpus: whole, replay: whole };
  for (const flag of ["list", "memory"]) options[flag] = { type: "boolean", default: false };
  let parsed;
  try {
    parsed = parseArgs({ options, allowPositionals: true });
  } catch (error) {
    throw new UsageError(error.message);
  }
  const { values, positionals } = parsed;
  for (const name of positionals)
    if (!all.includes(name)) throw new UsageError(`there is no target "${name}"; there are ${all.join(", ")}`);
  const number = (name) => {
    const text = values[name];
    if (text === undefined) return undefined;
    if (!/^[1-9]\d{0,9}$/.test(text)) throw new UsageError(`--${name} is ${text}; it must be a whole number from 1`);
    return Number(text);
  };
  const [seconds, runs, seed] = ["seconds", "runs", "seed"].map(number);
  if (values.replay !== undefined && positionals.length !== 1) throw new UsageError("--replay needs one target");
  const { memory } = values;
  const usual = memory ? inC.filter((name) => nativeTargets[nativeName(name)].memory) : all;
  const unfit = positionals.find((name) => memory && !usual.includes(name));
  if (unfit !== undefined) throw new UsageError(`--memory is for ${usual.join(", ")}, not for ${unfit}`);
  const kind = memory ? "memory" : "address";
  return { ...values, kind, seconds, runs, seed, targets: positionals.length > 0 ? positionals : usual };
}

async function load(target) {
  const file = await bundle(target);
  return { file, ...createRequire(import.meta.url)(file) };
}

async function replay(file, target, kind) {
  if (inC.includes(target)) {
    const { output, status } = await replayNative(nativeName(target), file, kind);
    console.error(output);
    return status === 0 ? 0 : 1;
  }
  try {
    await (await load(target)).fuzz(readFileSync(file));
  } catch (error) {
    console.error(error);
    return 1;
  }
  console.log(`${target} holds for ${file}`);
  return 0;
}

/** Files of what the target brings along: inputs to begin with, and words that they are likely to have. */
function writeSeeds(module, place) {
  const seeds = join(place, "seeds");
  mkdirSync(seeds);
  for (const [i, bytes] of module.seeds().entries()) writeFileSync(join(seeds, String(i)), bytes);
  if (module.words === undefined) return { seeds };
  const dictionary = join(place, "words");
  // Every byte as libFuzzer's dictionaries have it, whatever it is.
  const escaped = (word) => [...Buffer.from(word, "latin1").toString("hex").matchAll(/../g)].map((hex) => `\\x${hex}`);
  writeFileSync(dictionary, module.words.map((word) => `"${escaped(word).join("")}"\n`).join(""));
  return { seeds, dictionary };
}

async function runInC(target, { seconds, runs, seed, kind }) {
  const begun = performance.now();
  const limits = runs === undefined ? { seconds: seconds ?? 10 } : { runs };
  const { executions, coverage, failure } = await fuzzNative(nativeName(target), { ...limits, seed, kind });
  const result = { target, executions, coverage, seconds: (performance.now() - begun) / 1000 };
  return { ...result, isRight: failure === undefined, how: failure?.status, output: failure?.report ?? "" };
}

async function run(target, { seconds, runs, seed, corpus }) {
  const module = await load(target);
  const place = mkdtempSync(join(tmpdir(), "sni-handoff-fuzz-run-"));
  const found = join(folder, "build", "found", `${target}-`);
  mkdirSync(join(folder, "build", "found"), { recursive: true });
  const kept = corpus === undefined ? join(place, "corpus") : join(corpus, target);
  mkdirSync(kept, { recursive: true });
  const begun = performance.now();
  const result = await fuzz({
    ...{ file: relative(root, module.file), corpus: kept, found, runs, seed },
    ...writeSeeds(module, place),
    isAsync: module.fuzz.constructor.name === "AsyncFunction",
    seconds: seconds ?? (runs === undefined ? 10 : undefined),
    maxLength: module.maxLength ?? MAX_LENGTH,
  });
  rmSync(place, { recursive: true });
  return { ...result, target, seconds: (performance.now() - begun) / 1000 };
}

function line(target, executions, seconds, coverage) {
  const number = (value, width) => Math.round(value).toLocaleString("en").padStart(width);
  const speed = seconds === 0 ? 0 : executions / seconds;
  return `${target.padEnd(18)}${number(executions, 14)}${number(speed, 12)}${number(coverage, 10)}${seconds.toFixed(1).padStart(9)}`;
}

/** The file of what broke a target, as its fuzzer tells it; undefined: it kept none. */
const keptInput = (output) => /Test unit written to (\S+)/.exec(output)?.[1];

function report({ target, how, output }) {
  const file = keptInput(output);
  const said = output.split("\n").filter((text) => !/^#\d+\s|^INFO:|^\s*$/.test(text));
  console.error(`\n${target} was broken (${how}):\n${said.slice(0, 40).join("\n")}`);
  if (file === undefined) return;
  console.error(`input: ${readFileSync(file).toString("hex")}`);
  console.error(`again: npm run fuzz -- --replay ${relative(root, file)} ${target}\n`);
}

/** The same in a few lines, for who sees only the end of what was written. */
function reportShortly({ target, how, output }) {
  const file = keptInput(output);
  const lines = output.split(/\nMS: /)[0].split("\n");
  const first = Math.max(
    lines.findIndex((text) => /error|alarm|does not hold/i.test(text)),
    0,
  );
  console.error(`\n${target} was broken (${how}), in short:`);
  if (file !== undefined) console.error(`input, base64: ${readFileSync(file).toString("base64")}`);
  for (const text of lines.slice(first, first + 5)) console.error(text.slice(0, 200));
}

/** One that cannot be compiled does not keep the others from their turn. */
async function tried(target, options) {
  try {
    return await (inC.includes(target) ? runInC : run)(target, options);
  } catch (error) {
    return { target, executions: 0, coverage: 0, seconds: 0, isRight: false, how: "not begun", output: error.message };
  }
}

async function main() {
  const options = readArguments();
  process.chdir(root);
  if (options.list) {
    console.log(all.join("\n"));
    return 0;
  }
  if (options.replay !== undefined) return replay(options.replay, options.targets[0], options.kind);
  const seed = options.seed ?? 1 + Math.floor(Math.random() * 0x7ffffffe);
  console.log(`seed ${seed}\n${"target".padEnd(18)}    executions    a second  coverage  seconds`);
  const results = [];
  for (const target of options.targets) {
    const result = await tried(target, { ...options, seed });
    results.push(result);
    console.log(line(target, result.executions, result.seconds, result.coverage));
    if (!result.isRight) report(result);
  }
  const sum = (key) => results.reduce((total, each) => total + each[key], 0);
  console.log(line("all", sum("executions"), sum("seconds"), sum("coverage")));
  const broken = results.filter(({ isRight }) => !isRight);
  broken.forEach(reportShortly);
  return broken.length === 0 ? 0 : 1;
}

main().then(
  (status) => {
    process.exitCode = status;
  },
  (error) => {
    console.error(error instanceof UsageError ? `npm run fuzz: ${error.message}` : error);
    process.exitCode = error instanceof UsageError ? 2 : 1;
  },
);
