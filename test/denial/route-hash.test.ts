/**
 * The secret of the route table's hash: drawn anew for each table, told to nobody. Whoever knew it could make names that
 * all want one place (test/routing/builder.test.ts: then the table draws another one).
 */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { afterEach, beforeEach, expect, it } from "vitest";
import { column, fillHashWords, HASH_WORDS, ROW_WORDS } from "../../src/routing/hash.js";
import { Header, LAYOUT_VERSION, MAGIC } from "../../src/routing/layout.js";
import { sniHandoff } from "../support/command-line.js";
import { speak } from "../support/raw-client.js";
import { Scene } from "../support/scene.js";
import { buildHello } from "../tls/hello-builder.js";
import { textOf } from "./support/http.js";

const NAMES = 3;
/** Bytes of a process's memory that are looked at together, and what the next ones repeat of them. */
const CHUNK = 1 << 20;
const OVERLAP = 64;

let scene: Scene;

beforeEach(() => {
  scene = new Scene();
});

afterEach(() => scene.end());

/** Seeds of the finished tables of so many names in a process's memory: proc_pid_mem(5). */
function seedsOf(pid: number): Set<number> {
  const seeds = new Set<number>();
  const memory = openSync(`/proc/${pid}/mem`, "r");
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, "latin1").split("\n")) {
      const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
      if (from === undefined) continue;
      const end = Number.parseInt(to!, 16);
      for (let at = Number.parseInt(from, 16); at < end; at += CHUNK - OVERLAP) {
        for (const seed of seedsIn(bytesAt(memory, at, Math.min(CHUNK, end - at)))) seeds.add(seed);
      }
    }
  } finally {
    closeSync(memory);
  }
  return seeds;
}

function bytesAt(memory: number, at: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  try {
    return bytes.subarray(0, readSync(memory, bytes, 0, length, at));
  } catch {
    return bytes.subarray(0, 0); // a device's, or gone since
  }
}

function* seedsIn(bytes: Buffer): Iterable<number> {
  const mark = Buffer.alloc(8);
  mark.writeInt32LE(MAGIC, 0);
  mark.writeInt32LE(LAYOUT_VERSION, 4);
  for (let at = bytes.indexOf(mark); at !== -1; at = bytes.indexOf(mark, at + 4)) {
    if (at + 4 * (Header.NAMES + 1) > bytes.length) return;
    if (bytes.readInt32LE(at + 4 * Header.NAMES) === NAMES) yield bytes.readInt32LE(at + 4 * Header.SEED);
  }
}

const configuration = (port = "app") => `control: ${scene.at("control")}
backends: { app: { handoff: "${scene.at(port)}" }, web: { handoff: "${scene.at("web")}" } }
routes: { a.test: app, b.test: web, "*.c.test": app }
`;

const ask = (path: string) => textOf({ socketPath: scene.at("control"), path });

it("is another one in each process and after each reload, and stands in nothing that the door says", async () => {
  const seen = new Set<number>();
  const said: string[] = [];
  for (let start = 0; start < 2; start++) {
    const door = await scene.startDoor(configuration());
    for (let reload = 0; reload < 3; reload++) {
      const found = [...seedsOf(door.pid)];
      // The table in force, and perhaps the one before it, whose memory is kept.
      expect(found.length).toBeGreaterThan(0);
      for (const seed of found) seen.add(seed);
      said.push(...(await Promise.all(["/status", "/metrics", "/diff"].map(ask))));
      // To clients as well.
      const refused = await speak(door.port, buildHello({ serverName: "nobody.test" }));
      said.push(refused.received.toString("latin1"));
      door.write(configuration(reload % 2 === 0 ? "other" : "app"));
      await door.reload();
    }
    for (const command of ["check", "explain a.test", "status"]) {
      const file = command === "status" ? ["--control", scene.at("control")] : ["--config", door.file];
      const { stdout, stderr } = await sniHandoff([...command.split(" "), ...file]);
      said.push(stdout, stderr);
    }
    await door.stop();
    said.push(...door.child.lines, door.child.stderr);
  }
  expect(seen.size).toBeGreaterThanOrEqual(6);
  for (const seed of seen) {
    const words = new Int32Array(HASH_WORDS);
    fillHashWords(words, 0, seed);
    // The seed itself, and what "a" at the end of a name adds to its hash.
    for (const secret of [seed, words[column("a".charCodeAt(0))]!, words[ROW_WORDS]!]) {
      for (const form of [`${secret}`, `${secret >>> 0}`, (secret >>> 0).toString(16).padStart(8, "0")]) {
        // Short ones stand in other numbers.
        if (form.length < 7) continue;
        expect(said.filter((text) => new RegExp(`(?<![0-9a-f])${form}(?![0-9a-f])`).test(text))).toEqual([]);
      }
    }
  }
});
