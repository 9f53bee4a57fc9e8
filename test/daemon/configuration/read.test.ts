/** Files that are replaced or written to while they are read. */
import { appendFileSync, renameSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readText } from "../../../src/daemon/configuration/read.js";
import { ConfigurationFolder, LISTENERS } from "./scene.js";

const folder = new ConfigurationFolder();
let file: string;
let handle: FileHandle;

beforeEach(async () => {
  file = folder.write("x.yaml", "a: 1\n");
  handle = await open(file);
});

afterEach(() => handle.close());

/** The handle, with something that happens once the bytes are read. */
const meanwhile = (act: () => void) => ({
  stat: () => handle.stat(),
  readFile: async () => {
    const bytes = await handle.readFile();
    act();
    return bytes;
  },
});

test("a file that is replaced is read whole as it was", async () => {
  renameSync(folder.write("new.yaml", "b: 2\n"), file);
  expect(await readText(handle as never)).toBe("a: 1\n");
});

test("a file that is written to is refused", async () => {
  const written = meanwhile(() => appendFileSync(file, "b: 2\n"));
  await expect(readText(written as never)).rejects.toThrow("it was written to while it was read; try again");
});

test("a map that is written to is refused, at the place that names it", async () => {
  const map = folder.write("names.map", Array.from({ length: 100_000 }, (_, i) => `n${i}.example app\n`).join(""));
  let loading = true;
  const problems = folder
    .problemsOf(`${LISTENERS}backends: { app: { handoff: /a } }\nmaps: [names.map]\n`)
    .finally(() => {
      loading = false;
    });
  for (let i = 0; loading; i++) {
    appendFileSync(map, `more${i}.example app\n`);
    await new Promise(setImmediate);
  }
  expect(await problems).toEqual([
    'door.yaml:3:8: maps[0]: cannot use "names.map": it was written to while it was read; try again',
  ]);
});
