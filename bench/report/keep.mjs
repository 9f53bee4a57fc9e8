/**
 * node bench/report/keep.mjs REPORT.json: prints the part of a file of `--json` that `bench compare` reads, which is small
 * enough to be kept with the sources.
 */
import { readFileSync } from "node:fs";

/** A figure's last digits say nothing. @param {string} _key @param {unknown} value */
const short = (_key, value) =>
  typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(5)) : value;

/** @type {import("./page.mjs").Report} */
const { machine, interrupted, results } = JSON.parse(readFileSync(process.argv[2] ?? 0, "utf8"));
const kept = Object.entries(results).map(([name, { description, tables, bounds }]) => [
  name,
  { description, tables, bounds, configurations: [] },
]);
// Where its files were is nobody's business.
const command = machine.command.replace(/ --(json|html)[ =]\S+/g, "");
const report = { machine: { ...machine, command }, interrupted, results: Object.fromEntries(kept) };
process.stdout.write(`${JSON.stringify(report, short)}\n`);
