/**
 * The uniform part of a scenario's results: what the terminal's table, the page and `bench compare` read, whatever was
 * measured. A scenario returns it beside its own results: `{ ...own, ...uniform({ tables, bounds, configurations }) }`. Pure.
 *
 * @typedef {import("../stats.mjs").Summary | string | number | null} Cell figures of rounds; a figure that was taken once;
 *   words; null: there is none
 *
 * @typedef {object} Column
 * @property {string} key of the rows' cells
 * @property {string} title
 * @property {string} [unit] "µs", "conn/s"; absent of ratios and counts
 * @property {"more" | "less" | null} better null: neither. It isn't drawn, and no change of it is better or worse
 * @property {number} [digits] behind the point; three figures in all if absent
 * @property {boolean} [range] the terminal shows the least and the most too; the page always does
 *
 * @typedef {object} Row one contestant, or one case
 * @property {string} name the same in every run: by it `bench compare` finds the row again
 * @property {string} label for people
 * @property {boolean} [router] false: a baseline (no router, or less than one), drawn in grey
 * @property {boolean} [ours] this project's
 * @property {Record<string, Cell>} cells
 * @property {{ series: string, x: number }} [point] of a table with `x`
 *
 * @typedef {object} Table
 * @property {string} title the same in every run
 * @property {string} [unit] of all columns that have none of their own
 * @property {string} [note] one sentence or two under it
 * @property {Column[]} columns
 * @property {Row[]} rows
 * @property {{ title: string, unit?: string, log?: boolean }} [x] its figures are lines over this: every row has a `point`
 *
 * @typedef {{ name: string, text: string }} Configuration of a peer, as it ran; `name` with its version
 *
 * @typedef {object} Uniform
 * @property {Table[]} tables
 * @property {import("../bound.mjs").Bound[]} bounds
 * @property {Configuration[]} configurations
 *
 * @typedef {Uniform & Record<string, unknown>} Results what a scenario returns: its own beside the uniform part
 */

/** @param {Partial<Uniform>} parts @returns {Uniform} */
export function uniform({ tables = [], bounds = [], configurations = [] }) {
  return { tables, bounds, configurations };
}

/**
 * @param {string} key
 * @param {string} title
 * @param {Omit<Column, "key" | "title" | "better"> & { better?: "more" | "less" | null }} [options] `better`: default null
 * @returns {Column}
 */
export function column(key, title, { better = null, ...options } = {}) {
  return { key, title, ...options, better };
}

/** Figures in another unit. @param {import("../stats.mjs").Summary | null | undefined} summary @param {number} factor @returns {import("../stats.mjs").Summary | null} */
export function scaled(summary, factor) {
  return summary === null || summary === undefined
    ? null
    : {
        median: summary.median * factor,
        min: summary.min * factor,
        max: summary.max * factor,
        rounds: summary.rounds.map((value) => value * factor),
      };
}

/** @param {Cell | undefined} cell @returns {cell is import("../stats.mjs").Summary} */
export function isSummary(cell) {
  return typeof cell === "object" && cell !== null;
}

/** @param {Cell | undefined} cell @returns {number | null} the median, or the figure; null of words */
export function medianOf(cell) {
  return isSummary(cell) ? cell.median : typeof cell === "number" ? cell : null;
}

/** @param {Column} column @param {Table} table @returns {string | undefined} */
export function unitOf({ unit }, table) {
  return unit ?? table.unit;
}

/**
 * "1,234,567", "18.2", "0.0042": `digits` behind the point, or as many as make three figures.
 *
 * @param {number} value @param {number} [digits]
 */
export function figureText(value, digits = digitsOf([value])) {
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** As many behind the point as make three figures of the first; none for whole numbers. @param {readonly number[]} values */
function digitsOf([value, ...others]) {
  const isWhole = value === 0 || [value, ...others].every(Number.isInteger);
  return isWhole ? 0 : Math.min(4, Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value)))));
}

/**
 * @param {Cell | undefined} cell
 * @param {Column} column
 * @param {boolean} [range] with the least and the most, if there are rounds
 * @returns {string} "–" if there is nothing
 */
export function cellText(cell, column, range = false) {
  if (typeof cell === "string") {
    return cell;
  }
  const value = medianOf(cell);
  if (value === null || Number.isNaN(value)) {
    return "–";
  }
  const values = isSummary(cell) && cell.rounds.length > 1 ? [value, cell.min, cell.max] : [value];
  const [median, least, most] = values.map((each) => figureText(each, column.digits ?? digitsOf(values)));
  return range && most !== undefined ? `${median} (${least}..${most})` : median;
}

/** What makes figures unsteady, for a table's note. @param {import("../stats.mjs").Summary | null} share of the machine, others' @returns {string[]} none, or one sentence */
export function foreignNote(share) {
  const used = share?.median ?? 0;
  return used > 0.05
    ? [`Other programs used ${Math.round(used * 100)} % of the machine meanwhile: figures are unsteady.`]
    : [];
}
