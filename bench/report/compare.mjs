/** `bench compare A.json B.json`: what changed from one run to another by more than rounds of one run differ. */
import { readFile } from "node:fs/promises";
import { BenchFailure } from "../failure.mjs";
import { table as textTable } from "../table.mjs";
import { mannWhitney } from "./mann-whitney.mjs";
import { cellText, isSummary, medianOf, unitOf } from "./result.mjs";

/** Of a hundred figures that stayed as they were, one is told as changed. */
const CHANCE = 0.01;
/** A smaller change is none. */
const LEAST = 0.02;
/** Figures that were taken once: how much they differ by themselves is not known. */
const LEAST_OF_ONE = 0.1;

/**
 * @typedef {import("./page.mjs").Report} Report
 *
 * @typedef {object} Change
 * @property {string} scenario
 * @property {string} table
 * @property {string} row
 * @property {string} figure with its unit
 * @property {string} before with the least and the most
 * @property {string} after
 * @property {number} ratio after / before; Infinity from zero
 * @property {boolean} better
 * @property {boolean} once there are no rounds to judge by
 */

/** Prints what changed. @param {readonly string[]} files two @param {(text: string) => void} print @throws {BenchFailure} */
export async function compareFiles(files, print) {
  if (files.length !== 2) {
    throw new BenchFailure("compare takes two files of --json: sni-handoff bench compare BEFORE.json AFTER.json", {
      status: 2,
    });
  }
  // One after the other: of two wrong files the first is complained of, whichever is read sooner.
  const before = await readReport(files[0]);
  const after = await readReport(files[1]);
  print(comparisonText(before, after));
}

/** @param {string} file @returns {Promise<Report>} */
async function readReport(file) {
  const fail = (/** @type {string} */ reason) => new BenchFailure(`${file}: ${reason}`, { status: 2 });
  /** @type {any} */
  let report;
  try {
    report = JSON.parse(await readFile(file, "utf8"));
  } catch (error) {
    throw fail(
      error instanceof SyntaxError ? `this is no JSON (${error.message})` : /** @type {Error} */ (error).message,
    );
  }
  const results = Object.values(report?.results ?? {});
  if (typeof report?.machine?.command !== "string" || !results.every((each) => Array.isArray(each?.tables))) {
    throw fail("this is no file that this version's bench --json has written");
  }
  return report;
}

/** @param {Report} before @param {Report} after @returns {string} lines */
export function comparisonText(before, after) {
  const { changes, compared, alone } = compare(before, after);
  /** @param {Change} change */
  const verdict = ({ better, once }) => `${better ? "better" : "WORSE"}${once ? ", taken once" : ""}`;
  const groups = [...new Set(changes.map(({ scenario, table }) => `${scenario}: ${table}`))];
  const tables = groups.map((group) => {
    const own = changes.filter(({ scenario, table }) => `${scenario}: ${table}` === group);
    const rows = own.map((change) => [
      ...[change.row, change.figure, change.before, change.after, percentText(change.ratio), verdict(change)],
    ]);
    return `${group}\n${textTable(["", "", "before", "after", "change", ""], rows, { left: 2 })}\n`;
  });
  const counted =
    compared === 0
      ? "The two have no figure in common.\n"
      : `${changes.length} of ${compared} figures changed beyond noise${changes.length === 0 ? "" : `, ${changes.filter(({ better }) => !better).length} for the worse`}.\n`;
  return [
    `before  ${before.machine.date}  ${before.machine.command}\n`,
    `after   ${after.machine.date}  ${after.machine.command}\n`,
    ...differences(before, after).map((text) => `${text}\n`),
    "\n",
    ...tables,
    ...verdictsText(before, after),
    ...alone.map((text) => `${text}\n`),
    counted,
  ].join("");
}

/** What makes the two runs hard to compare. @param {Report} before @param {Report} after */
function differences(before, after) {
  const machine = /** @type {const} */ (["cpu", "cores", "kernel", "node"])
    .filter((key) => before.machine[key] !== after.machine[key])
    .map((key) => `not the same ${key}: ${before.machine[key]}, ${after.machine[key]}`);
  const cut = /** @type {const} */ ([
    ["before", before],
    ["after", after],
  ])
    .filter(([, { interrupted }]) => interrupted)
    .map(([which]) => `the run ${which} was interrupted`);
  return [...machine, ...cut];
}

/** Bounds that are met on one side only. @param {Report} before @param {Report} after */
function verdictsText(before, after) {
  const lines = Object.entries(after.results).flatMap(([scenario, { bounds }]) =>
    bounds.flatMap(({ what, met }) => {
      const old = before.results[scenario]?.bounds.find((bound) => bound.what === what);
      return old === undefined || old.met === null || met === null || old.met === met
        ? []
        : [`${scenario}: ${what}: was ${old.met ? "met" : "not met"}, is ${met ? "met" : "NOT MET"}\n`];
    }),
  );
  return lines.length === 0 ? [] : [...lines, "\n"];
}

/**
 * @param {Report} before
 * @param {Report} after
 * @returns {{ changes: Change[], compared: number, alone: string[] }} `alone`: what only one of them has
 */
export function compare(before, after) {
  const changes = /** @type {Change[]} */ ([]);
  let compared = 0;
  for (const { scenario, table, old } of commonTables(before, after)) {
    for (const row of table.rows) {
      const oldRow = old.rows.find(({ name }) => name === row.name);
      for (const column of oldRow === undefined ? [] : table.columns.filter(({ better }) => better !== null)) {
        const [from, to] = [oldRow?.cells[column.key], row.cells[column.key]];
        const [was, is] = [medianOf(from), medianOf(to)];
        if (was === null || is === null) {
          continue;
        }
        compared++;
        if (hasChanged(from, to)) {
          const unit = unitOf(column, table);
          changes.push({
            ...{ scenario, table: table.title, row: row.label },
            figure: unit === undefined ? column.title : `${column.title}, ${unit}`,
            ...{ before: cellText(from, column, true), after: cellText(to, column, true) },
            ratio: was === is ? 1 : is / was,
            better: is > was === (column.better === "more"),
            once: !isSummary(from) || !isSummary(to),
          });
        }
      }
    }
  }
  return { changes, compared, alone: [...onlyIn(before, after, "before"), ...onlyIn(after, before, "after")] };
}

/** @param {Report} before @param {Report} after */
function commonTables(before, after) {
  return Object.entries(after.results).flatMap(([scenario, { tables }]) =>
    tables.flatMap((table) => {
      const old = before.results[scenario]?.tables.find(({ title }) => title === table.title);
      return old === undefined ? [] : [{ scenario, table, old }];
    }),
  );
}

/**
 * By the ranks of the rounds; with so few that these could never tell, whether the rounds of one side all lie beyond those
 * of the other.
 *
 * @param {import("./result.mjs").Cell | undefined} from @param {import("./result.mjs").Cell | undefined} to
 */
export function hasChanged(from, to) {
  const [was, is] = [medianOf(from), medianOf(to)];
  if (was === null || is === null || was === is) {
    return false;
  }
  const part = Math.abs(is - was) / Math.abs(was);
  if (!isSummary(from) || !isSummary(to) || from.rounds.length < 2 || to.rounds.length < 2) {
    return part > LEAST_OF_ONE;
  }
  const apart = from.max < to.min || to.max < from.min;
  const mostTelling = mannWhitney(
    from.rounds.map(() => 0),
    to.rounds.map(() => 1),
  );
  return part > LEAST && (mostTelling > CHANCE ? apart : mannWhitney(from.rounds, to.rounds) <= CHANCE);
}

/** @param {Report} one @param {Report} other @param {string} which */
function onlyIn(one, other, which) {
  return Object.entries(one.results).flatMap(([scenario, { tables }]) => {
    const others = other.results[scenario]?.tables;
    if (others === undefined) {
      return [`only ${which}: ${scenario}`];
    }
    return tables.flatMap((table) => {
      const same = others.find(({ title }) => title === table.title);
      const rows = table.rows.filter(({ name }) => same && !same.rows.some((row) => row.name === name));
      return same === undefined
        ? [`only ${which}: ${scenario}: ${table.title}`]
        : rows.map(({ label }) => `only ${which}: ${scenario}: ${table.title}: ${label}`);
    });
  });
}

/** @param {number} ratio */
function percentText(ratio) {
  const percent = (ratio - 1) * 100;
  return Number.isFinite(percent) ? `${percent > 0 ? "+" : "−"}${Math.abs(percent).toFixed(1)} %` : "from 0";
}
