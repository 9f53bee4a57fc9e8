/**
 * What each program's documentation shows, and what the importers know beyond it, converted and taken by the checker.
 * Beside each example is what comes out of it; to write that anew: WRITE=1 npx vitest run … test/import
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { loadConfiguration } from "../../src/daemon/configuration/index.js";
import { guessFormat, importConfiguration } from "../../src/import/index.js";
import { Folder } from "../support/folder.js";

const root = fileURLToPath(new URL("examples", import.meta.url));
const folder = new Folder();
const examples = readdirSync(root).filter((file) => /\.(?:conf|cfg)$/.test(file));
const text = (file: string) => readFileSync(join(root, file), "utf8");
const read = (path: string) => (readdirSync(root).includes(path) ? text(path) : undefined);

describe.each(examples)("%s", (file) => {
  test("is taken for what it is", () => {
    expect(guessFormat(text(file))).toBe(/^(?:sni-router|[a-z]+)/.exec(file)![0]);
  });

  test("is converted", () => {
    const imported = importConfiguration(text(file), { file, read });
    const expected = `${file.replace(/\.\w+$/, "")}.yaml`;
    if (process.env.WRITE !== undefined) writeFileSync(join(root, expected), imported.text);
    expect(imported.text).toBe(text(expected));
    for (const remark of imported.remarks) expect(imported.text).toContain(`\n#   ${remark}\n`);
  });

  test("makes a configuration that the checker finds right, without a warning", async () => {
    const imported = importConfiguration(text(file), { file, read });
    const { warnings } = await loadConfiguration(folder.write(`${file}.yaml`, imported.text));
    expect(warnings.map(({ key, message }) => `${key}: ${message}`)).toEqual([]);
  });
});
