/**
 * The report as one HTML page that needs nothing else: no script, no network. For a reader who has never seen the project.
 *
 * @typedef {object} Report what `--json` writes
 * @property {import("../machine.mjs").Machine} machine
 * @property {boolean} interrupted
 * @property {Record<string, import("./result.mjs").Uniform & { description: string }>} results by scenario
 */
import { readFileSync } from "node:fs";
import { cellText, figureText, unitOf } from "./result.mjs";

/** Each chart is drawn for both, and the page's style shows one. Pixels. */
const WIDE = { width: 540, narrow: false };
const NARROW = { width: 330, narrow: true };

/** @typedef {typeof import("./drawing.mjs")} Drawing */

/** That stand in the tables. */
const words = [
  ["µs/conn", "microseconds of CPU time for each connection"],
  ["conn/s", "connections a second, as many as the clients could make unless it says otherwise"],
  ["p50, p99, p99.9", "half, 99 % and 99.9 % of the connections (or requests) took at most this long"],
  ["direct", "the server accepts its connections itself, without a router before it"],
  [
    "C floor",
    "the system calls that handing over takes, in a C program that does nothing else: the least a router can cost",
  ],
  ["× floor, × direct, …", "as a multiple of that one's figure in the same round"],
];

/** What draws: in a clone from its modules, in an installed package as bundle.mjs made it. @returns {Promise<Drawing>} */
export async function loadDrawing() {
  try {
    return await import("./drawing.mjs");
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== "ERR_MODULE_NOT_FOUND") {
      throw error;
    }
    return import(new URL("../../dist/drawing.mjs", import.meta.url).href);
  }
}

/** @param {Report} report @param {Drawing} drawing @returns {string} HTML */
export function pageText({ machine, interrupted, results }, drawing) {
  const style = readFileSync(new URL("./page.css", import.meta.url), "utf8");
  const scenarios = Object.entries(results);
  const bounds = scenarios.filter(([, { bounds: own }]) => own.length > 0);
  // Most scenarios run the same.
  const configurations = scenarios
    .flatMap(([, { configurations: own }]) => own)
    .filter(({ name, text }, at, all) => all.findIndex((each) => each.name === name && each.text === text) === at);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>sni-handoff: benchmark of ${html(machine.date.slice(0, 10))}</title>
<style>
${style}</style>
</head>
<body>
<header>
<h1>sni-handoff, measured</h1>
<p>sni-handoff is a front door for TLS servers. Several servers share one port: the <em>door</em> accepts a client's connection, looks at
the server name in its first message (the <em>ClientHello</em>), and hands the accepted socket itself to the right server's process, which
from then on talks to the client directly. Other routers stay in between and copy every byte.</p>
<p>All figures are from one machine, over its loopback interface: clients, router and server share its cores. Contestants took turns, round
by round. A figure is the median of its rounds.</p>
${interrupted ? '<p class="warning">The run was interrupted: these are the figures that there were.</p>\n' : ""}${machineText(machine)}</header>
${bounds.length === 0 ? "" : `<section>\n<h2>What it must show</h2>\n${bounds.map(boundsText).join("")}</section>\n`}<section class="legend">
<h2>How to read the charts</h2>
<ul>
<li><span class="swatch ours"></span> this project</li>
<li><span class="swatch other"></span> other routers</li>
<li><span class="swatch baseline"></span> for comparison: no router, or less than a router</li>
<li>A bar ends at the median; the thin line goes from the smallest to the largest round. Where figures are far apart a point is the median, on a logarithmic axis.</li>
</ul>
<dl>
${words.map(([word, meaning]) => `<dt>${word}</dt><dd>${meaning}</dd>\n`).join("")}</dl>
</section>
${scenarios.map((each) => scenarioText(each, drawing)).join("")}${configurationsText(configurations)}</body>
</html>
`;
}

/** @param {import("../machine.mjs").Machine} machine */
function machineText(machine) {
  const rows = [
    ["Command", `<code>${html(machine.command)}</code>`],
    ["Date", html(machine.date.replace("T", " ").replace(/\.\d+Z$/, " UTC"))],
    ["Kernel", `Linux ${html(machine.kernel)}`],
    [
      "Machine",
      `${html(machine.cpu)}, ${machine.cores} core${machine.cores === 1 ? "" : "s"}, ${figureText(machine.memory / 2 ** 30, 0)} GiB`,
    ],
    ["Versions", `sni-handoff ${html(machine.version)}, Node ${html(machine.node)}`],
    ["Load average", `${machine.loadAverage.toFixed(2)} before anything was measured`],
  ];
  return `<dl>\n${rows.map(([term, text]) => `<dt>${term}</dt><dd>${text}</dd>\n`).join("")}</dl>\n`;
}

/** @param {[string, import("./result.mjs").Uniform]} scenario */
function boundsText([name, { bounds }]) {
  const rows = bounds.map(({ what, value, bound, kind, unit, met }) => {
    const [mark, verdict] = met === null ? ["unknown", "not measured"] : met ? ["met", "met"] : ["missed", "not met"];
    const limit = `${kind === "atMost" ? "at most" : "at least"} ${bound.toLocaleString("en-US")}${unit}`;
    const measured = value === null ? "–" : `${figureText(Math.round(value * 1000) / 1000)}${unit}`;
    return `<tr><th scope="row">${html(what)}</th><td>${html(measured)}</td><td>${html(limit)}</td><td class="${mark}">${verdict}</td></tr>\n`;
  });
  return scrolling(`<table class="bounds">
<caption><a href="#${html(name)}">${html(name)}</a></caption>
<thead><tr><th scope="col"></th><th scope="col">measured</th><th scope="col">bound</th><th scope="col"></th></tr></thead>
<tbody>
${rows.join("")}</tbody>
</table>`);
}

/** @param {[string, Report["results"][string]]} scenario @param {Drawing} drawing */
function scenarioText([name, { description, tables }], drawing) {
  return `<section id="${html(name)}">
<h2>${html(name)}</h2>
<p>${html(sentence(description))}</p>
${tables.map((table) => tableText(table, drawing)).join("")}</section>
`;
}

/** @param {import("./result.mjs").Table} table @param {Drawing} drawing */
function tableText(table, drawing) {
  const figures = table.columns
    .filter(({ better }) => better !== null)
    .map((column) => figureOf(table, column, drawing))
    .join("");
  const heads = table.columns.map((column) => {
    const unit = unitOf(column, table);
    return `<th scope="col">${html(column.title)}${unit === undefined ? "" : `<small>${html(unit)}</small>`}</th>`;
  });
  const rows = table.rows.map(({ label, cells }) => {
    const figure = (/** @type {import("./result.mjs").Column} */ column) => {
      const [median, range] = cellText(cells[column.key], column, true).split(" (");
      return typeof cells[column.key] === "string"
        ? `<td class="words">${html(String(cells[column.key]))}</td>`
        : `<td>${median}${range === undefined ? "" : `<small>${range.slice(0, -1).replace("..", " – ")}</small>`}</td>`;
    };
    return `<tr><th scope="row">${html(label)}</th>${table.columns.map(figure).join("")}</tr>\n`;
  });
  return `<h3>${html(sentence(table.title).slice(0, -1))}</h3>
${seriesText(table, drawing)}<div class="figures">
${figures}</div>
${scrolling(`<table>
<thead><tr><th scope="col"></th>${heads.join("")}</tr></thead>
<tbody>
${rows.join("")}</tbody>
</table>`)}${table.note === undefined ? "" : `<p class="note">${html(table.note)}</p>\n`}`;
}

/** @param {import("./result.mjs").Table} table @param {import("./result.mjs").Column} column @param {Drawing} drawing */
function figureOf(table, column, { chart }) {
  const [wide, narrow] = [WIDE, NARROW].map((drawn) => chart(table, column, drawn));
  if (wide === null || narrow === null) {
    return "";
  }
  return `<figure>
<figcaption>${html(column.title)}: ${column.better} is better</figcaption>
<div class="wide">${wide}</div><div class="narrow">${narrow}</div>
</figure>
`;
}

/** Which line is whose. @param {import("./result.mjs").Table} table @param {Drawing} drawing */
function seriesText(table, { seriesColor }) {
  const series = [...new Set(table.rows.flatMap(({ point }) => (point === undefined ? [] : [point.series])))];
  return table.x === undefined || series.length === 0
    ? ""
    : `<ul class="legend">\n${series
        .map(
          (name, index) =>
            `<li><span class="swatch" style="background: ${seriesColor(index)}"></span> ${html(name)}</li>\n`,
        )
        .join("")}</ul>\n`;
}

/** @param {readonly import("./result.mjs").Configuration[]} configurations */
function configurationsText(configurations) {
  const details = configurations.map(
    ({ name, text }) => `<details>\n<summary>${html(name)}</summary>\n<pre>${html(text)}</pre>\n</details>\n`,
  );
  return configurations.length === 0
    ? ""
    : `<section>\n<h2>How the others are configured</h2>\n<p>Whoever knows better can say so.</p>\n${details.join("")}</section>\n`;
}

/** Wide tables scroll by themselves, and are reached by the keyboard. @param {string} table */
function scrolling(table) {
  return `<div class="scrolling" tabindex="0">${table}</div>\n`;
}

/** "what it costs" -> "What it costs." @param {string} text */
function sentence(text) {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}.`;
}

/** @param {string} text */
function html(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
