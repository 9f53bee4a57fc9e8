/** A front door with a million names: what it takes to load them, and to have them. */
import { createWriteStream, readFileSync } from "node:fs";
import { finished } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { Child } from "../support/child.js";
import { Folder } from "../support/folder.js";

const NAMES = 1_000_000;
const MAX_RESIDENT_MB = 250;

const folder = new Folder();
const program = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

/** Resident and highest resident size of a process, in MB: proc(5), VmRSS and VmHWM. */
function memory(pid: number): { resident: number; highest: number } {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const megabytes = (field: string) =>
    Math.round((Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)![1]) * 1024) / 1e6);
  return { resident: megabytes("VmRSS"), highest: megabytes("VmHWM") };
}

test(`the whole process takes at most ${MAX_RESIDENT_MB} MB with a million names`, async () => {
  const map = createWriteStream(folder.at("names.map"));
  for (let i = 0; i < NAMES; i += 1000) {
    let lines = "";
    for (let j = i; j < i + 1000; j++) lines += `customer-${j}.shop${j % 977}.example.com app${j % 7}\n`;
    map.write(lines);
  }
  await finished(map.end());
  const backends = Array.from({ length: 7 }, (_, i) => `app${i}: { handoff: app${i}.sock }`);
  const file = folder.write(
    "door.yaml",
    `listeners: [{ address: "127.0.0.1:0" }]\nworkers: 2\nbackends: { ${backends.join(", ")} }\nmaps: [names.map]\n`,
  );
  const begun = performance.now();
  const door = new Child(process.execPath, [program, "serve", "--config", file]);
  const ready = JSON.parse(await door.line("the door to be ready", (line) => line.includes('"ready"') && line));
  const seconds = (performance.now() - begun) / 1000;
  const { resident, highest } = memory(door.pid);
  console.log(`${NAMES} names: ready after ${seconds.toFixed(1)} s, ${resident} MB resident (${highest} MB at most)`);
  expect(ready.names).toBe(NAMES);
  expect(resident).toBeLessThanOrEqual(MAX_RESIDENT_MB);
  expect(highest).toBeLessThanOrEqual(MAX_RESIDENT_MB);
  await door.end();
});
