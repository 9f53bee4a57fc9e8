/**
 * Charts of the page, as SVG text: a bar for the median of each row (a point, where they are far apart), and a line from the
 * least round to the greatest; of a table with `x`, lines over it. Colours are the page's (var(--…)), so that they follow light and dark.
 *
 * Drawn with Observable Plot in a document of linkedom's: bundle.mjs puts both into the package, as they are needed
 * nowhere else.
 */
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import { cellText, isSummary, medianOf, unitOf } from "./result.mjs";

/** Of a letter at 12 px, about; labels must fit before they are laid out. Pixels. */
const LETTER = 6.7;
const FONT = { fontFamily: "inherit", fontSize: "12px", overflow: "visible" };

/** Figures that are as far apart stand on a logarithmic axis, as points: a bar has no length there. */
const FAR_APART = 200;

/** So many series can be told apart by colour; see the page's style. */
export const SERIES = 6;

/**
 * @typedef {object} Drawn
 * @property {number} width pixels
 * @property {boolean} narrow for a telephone: labels are above their bars
 */

/**
 * One column of a table; null if there is nothing to draw.
 *
 * @param {import("./result.mjs").Table} table
 * @param {import("./result.mjs").Column} column
 * @param {Drawn} drawn
 * @returns {string | null}
 */
export function chart(table, column, drawn) {
  const figures = table.rows.flatMap((row) => figureOf(row, column));
  if (figures.length < 2 || !figures.some(({ max }) => max > 0)) {
    return null;
  }
  const { document } = parseHTML("<html><body></body></html>");
  const options = table.x === undefined ? bars(figures, drawn) : lines(figures, table.x, drawn);
  const unit = unitOf(column, table);
  const label = unit === undefined ? column.title : `${column.title}, ${unit}`;
  const svg = Plot.plot(axes(options, label, table.x !== undefined, drawn, document));
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${table.title}: ${label}`);
  return svg.outerHTML;
}

/** @param {import("./result.mjs").Row} row @param {import("./result.mjs").Column} column */
function figureOf(row, column) {
  const cell = row.cells[column.key];
  const median = medianOf(cell);
  if (median === null || Number.isNaN(median)) {
    return [];
  }
  const range = isSummary(cell) ? { min: cell.min, max: cell.max } : { min: median, max: median };
  const color = row.ours ? "var(--ours)" : row.router === false ? "var(--baseline)" : "var(--other)";
  const text = cellText(cell, column);
  return [{ name: row.name, label: row.label, median, ...range, color, text, ...row.point }];
}

/** @typedef {ReturnType<typeof figureOf>[number]} Figure */

/** Labels stand above their bars where there is no room beside them. @param {Figure[]} figures @param {Drawn} drawn */
function bars(figures, { narrow }) {
  const widest = (/** @type {"label" | "text"} */ key) =>
    Math.max(...figures.map((figure) => figure[key].length)) * LETTER;
  const label = new Map(figures.map((figure) => [figure.name, figure.label]));
  // All of a row but its label is moved down by as much.
  const dy = narrow ? 8 : 0;
  const ranges = figures.filter(({ min, max }) => min < max);
  const least = Math.min(...figures.map(({ min }) => min));
  const greatest = Math.max(...figures.map(({ max }) => max));
  const logarithmic = least > 0 && least * FAR_APART < greatest;
  const end = { y: "name", stroke: "var(--text)", strokeWidth: 1.5, insetTop: 5, insetBottom: 5, dy };
  const words = { y: "name", textAnchor: /** @type {const} */ ("start"), fill: "var(--text)" };
  return {
    height: figures.length * (narrow ? 46 : 28) + 60,
    marginTop: 8,
    marginLeft: narrow ? 4 : Math.ceil(widest("label")) + 14,
    marginRight: Math.ceil(widest("text")) + 14,
    y: { domain: figures.map(({ name }) => name), axis: null, padding: narrow ? 0.6 : 0.35 },
    x: logarithmic ? { type: "log", zero: false, ticks: 5, tickFormat: compact } : {},
    marks: [
      logarithmic
        ? Plot.dot(figures, { y: "name", x: "median", fill: "color", r: 5, dy })
        : Plot.barX(figures, { y: "name", x: "median", fill: "color", dy }),
      Plot.ruleY(ranges, { y: "name", x1: "min", x2: "max", stroke: "var(--text)", strokeWidth: 1.5, dy }),
      Plot.tickX(ranges, { ...end, x: "min" }),
      Plot.tickX(ranges, { ...end, x: "max" }),
      Plot.text(figures, { ...words, x: "max", text: "text", dx: 6, dy }),
      narrow
        ? Plot.text(figures, { ...words, text: "label", frameAnchor: "left", dy: -10 })
        : Plot.axisY({ tickSize: 0, tickFormat: (/** @type {string} */ name) => label.get(name), label: null }),
      logarithmic ? null : Plot.ruleX([0], { stroke: "var(--line)" }),
    ],
  };
}

/** @param {number} value "0.1", "1", "1K" */
function compact(value) {
  return value.toLocaleString("en-US", { notation: "compact" });
}

/** @param {Figure[]} figures @param {NonNullable<import("./result.mjs").Table["x"]>} x @param {Drawn} drawn */
function lines(figures, { title, unit, log }, { width, narrow }) {
  const series = [...new Set(figures.map((figure) => figure.series))];
  const points = figures.map((figure) => ({ ...figure, color: seriesColor(series.indexOf(figure.series)) }));
  return {
    height: narrow ? 260 : 320,
    marginTop: 24,
    marginLeft: 64,
    marginRight: 24,
    x: {
      type: log ? "log" : "linear",
      label: unit === undefined ? title : `${title}, ${unit}`,
      ticks: log ? 5 : Math.round(width / 90),
      tickFormat: compact,
    },
    marks: [
      Plot.ruleX(points, { x: "x", y1: "min", y2: "max", stroke: "color", strokeWidth: 1.5 }),
      Plot.lineY(points, { x: "x", y: "median", z: "series", stroke: "color", strokeWidth: 2 }),
      Plot.dot(points, { x: "x", y: "median", fill: "color", r: 3.5 }),
      Plot.ruleY([0], { stroke: "var(--line)" }),
    ],
  };
}

/** @param {number} index */
export function seriesColor(index) {
  return `var(--series-${index % SERIES})`;
}

/**
 * @param {any} options of bars or lines
 * @param {string} label of the figures' axis
 * @param {boolean} upright whether it is the y axis
 * @param {Drawn} drawn
 * @param {any} document
 */
function axes(options, label, upright, { width }, document) {
  const figures = {
    zero: true,
    nice: true,
    grid: true,
    label,
    labelArrow: "none",
    labelAnchor: upright ? "top" : "center",
    ticks: upright ? 6 : Math.max(3, Math.round(width / 110)),
  };
  return {
    document,
    width,
    style: FONT,
    color: { type: "identity" },
    ...options,
    marginBottom: 44,
    x: upright
      ? { labelArrow: "none", labelAnchor: "center", ...options.x }
      : { ...figures, labelOffset: 38, ...options.x },
    y: upright ? figures : options.y,
  };
}
