/** The disk that the door's log is on is full: no client notices, whatever else happens, and lines are dropped, not kept. */
import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { runModel } from "./model/run.js";
import type { FaultKind } from "./model/schedule.js";

const SEED = 1;
const CONNECTIONS = 1_200;

/** All that cost no client: the log would have to say what became of others. */
const kinds: readonly FaultKind[] = [
  "stop an instance",
  "drain an instance",
  "overload an instance",
  "take an instance's descriptors",
  "stop all instances",
  "stop the door",
  "fill the accept queue",
  "restart the door",
  "upgrade the door",
  "reload",
  "break the configuration",
  "set the clock",
];

let folder: string;
let disk: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-full-"));
  disk = join(folder, "disk");
  mkdirSync(disk);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]);
});

afterEach(() => {
  execFileSync("umount", [disk]);
  rmSync(folder, { recursive: true });
});

it(`seed ${SEED}: ${CONNECTIONS} connections are all answered`, { timeout: 600_000 }, async () => {
  const path = join(disk, "log");
  const log = openSync(path, "a");
  writeFileSync(join(disk, "other"), Buffer.alloc(40 * 1024));
  try {
    const summary = await runModel({ seed: SEED, connections: CONNECTIONS, kinds, log, say: console.log });
    expect(summary.wrong).toEqual([]);
    expect(Object.keys(summary.verdicts).sort()).toEqual(["answered", "left", "refused"]);
  } finally {
    closeSync(log);
  }
  expect(statfsSync(disk).bavail).toBe(0);
  // What is there are whole lines, until the disk was full.
  const lines = readFileSync(path, "utf8").split("\n").slice(0, -1);
  expect(lines.length).toBeGreaterThan(10);
  for (const line of lines) expect(JSON.parse(line)).toHaveProperty("event");
});
