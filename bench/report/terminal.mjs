/** Tables of results for a terminal. Pure. */
import { table as textTable } from "../table.mjs";
import { cellText, unitOf } from "./result.mjs";

/** Lines, the last one empty. @param {import("./result.mjs").Table} table */
export function tableText(table) {
  const rows = table.rows.map(({ label, cells }) => [
    label,
    ...table.columns.map((column) => cellText(cells[column.key], column, column.range)),
  ]);
  const titles = table.columns.map(({ title }) => title);
  const units = table.columns.map((column) => unitOf(column, table) ?? "");
  const note = table.note === undefined ? "" : `  ${table.note}\n`;
  return `${table.title}\n${textTable(["", ...titles], rows, { units: ["", ...units] })}${note}\n`;
}

/** As they ran, indented, each with a line that names it. @param {readonly import("./result.mjs").Configuration[]} configurations */
export function configurationsText(configurations) {
  return configurations.map(({ name, text }) => `${name}\n${text}\n`.replace(/^(?=.)/gm, "  ")).join("");
}
