/** Tables of results for a terminal. Pure. */
import { table as textTable } from "../table.mjs";
import { cellText, unitOf } from "./result.mjs";

/** Lines, the last one empty. @param {import("./result.mjs").Table} table */
export function tableText(table) {
  const head = table.columns.map((column) => {
    const unit = unitOf(column, table);
    return unit === undefined ? column.title : `${column.title}, ${unit}`;
  });
  const rows = table.rows.map(({ label, cells }) => [
    label,
    ...table.columns.map((column) => cellText(cells[column.key], column, column.range)),
  ]);
  const note = table.note === undefined ? "" : `  ${table.note}\n`;
  return `${table.title}\n${textTable(["", ...head], rows)}${note}\n`;
}
