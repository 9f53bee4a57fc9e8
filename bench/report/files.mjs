/** The files that a run leaves: figures for programs (`--json`), and the page for people (`--html`). */
import { accessSync, constants, statSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { BenchFailure } from "../failure.mjs";
import { loadDrawing, pageText } from "./page.mjs";

/** @typedef {{ json?: string, html?: string }} Files paths */

/** Before anything is measured: a run of minutes must not end in a file that cannot be written. @param {Files} files @throws {BenchFailure} */
export function checkFiles({ json, html }) {
  for (const [option, file] of Object.entries({ json, html })) {
    if (file === undefined) {
      continue;
    }
    const isThere = statSync(file, { throwIfNoEntry: false });
    const fail = (/** @type {string} */ reason) => {
      throw new BenchFailure(`--${option} ${file}: ${reason}`, { status: 2 });
    };
    if (isThere?.isDirectory()) {
      fail("this is a folder; it must be a file");
    }
    try {
      accessSync(isThere === undefined ? dirname(file) : file, constants.W_OK);
    } catch (error) {
      fail(`it cannot be written (${/** @type {NodeJS.ErrnoException} */ (error).code})`);
    }
  }
}

/** @param {Files} files @param {import("./page.mjs").Report} report */
export async function writeFiles({ json, html }, report) {
  if (json !== undefined) {
    await writeFile(json, `${JSON.stringify(report, null, 2)}\n`);
  }
  if (html !== undefined) {
    await writeFile(html, pageText(report, await loadDrawing()));
  }
}
