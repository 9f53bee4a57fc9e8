/** Tables for a terminal. Pure. */

/**
 * @param {readonly string[]} head
 * @param {readonly (readonly string[])[]} rows
 * @param {{ left?: number, indent?: string, units?: readonly string[] }} [options] `left`: so many columns are text, the
 *   others figures (default 1); `units`: a second line of the head
 * @returns {string} lines, each with its line feed
 */
export function table(head, rows, { left = 1, indent = "  ", units = [] } = {}) {
  const heads = units.some((unit) => unit !== "") ? [head, units] : [head];
  const widths = head.map((_, column) => Math.max(...[...heads, ...rows].map((row) => row[column].length)));
  const line = (/** @type {readonly string[]} */ cells) =>
    indent +
    cells
      .map((cell, column) => (column < left ? cell.padEnd(widths[column]) : cell.padStart(widths[column])))
      .join("  ")
      .trimEnd();
  const rule = indent + "─".repeat(widths.reduce((sum, width) => sum + width + 2, -2));
  return [...heads.map(line), rule, ...rows.map(line)].map((text) => `${text}\n`).join("");
}

/** @param {number | null | undefined} value @param {number} [digits] behind the point (default 2) */
export function figure(value, digits = 2) {
  return value === null || value === undefined || Number.isNaN(value) ? "–" : value.toFixed(digits);
}

/** 1234567 -> "1,234,567". @param {number | null | undefined} value */
export function count(value) {
  return value === null || value === undefined || Number.isNaN(value) ? "–" : Math.round(value).toLocaleString("en-US");
}

/** "18.20 (17.90..19.05)". @param {import("./stats.mjs").Summary | null} summary @param {number} [digits] */
export function spread(summary, digits = 1) {
  return summary === null
    ? "–"
    : `${summary.median.toFixed(digits)} (${summary.min.toFixed(digits)}..${summary.max.toFixed(digits)})`;
}
