/** Threads that are started before the configuration is read: how many, and what becomes of them. */
import type { Worker } from "node:worker_threads";
import { afterAll, afterEach, describe, expect, test } from "vitest";
// Compiled: threads cannot run TypeScript.
import { releaseThreads, startThreads, takeThread } from "../../dist/daemon/threads.js";
import { defaultWorkers } from "../../src/daemon/configuration/default-workers.js";
import { Folder } from "../support/folder.js";

const folder = new Folder();
const taken: Worker[] = [];

function take(): number {
  const thread = takeThread();
  taken.push(thread);
  return thread.threadId;
}

/** How many `startThreads` starts: threads are numbered in the order of their start. */
function started(text: string, isSuccessor = false): number {
  const file = folder.write("door.yaml", text);
  const before = take();
  startThreads(file, isSuccessor);
  releaseThreads();
  return take() - before - 1;
}

afterEach(() => Promise.all(taken.splice(0).map((thread) => thread.terminate())));
afterAll(() => releaseThreads());

describe("as many are started as the file seems to ask for", () => {
  test.each([
    ["workers: 3\n", 3],
    ["listeners: []\nworkers : 2 # two\n", 2],
    ["backends: { app: { workers: 3 } }\n", defaultWorkers],
    ["", defaultWorkers],
    ["workers: many\n", defaultWorkers],
    ["workers: 999\n", 16],
  ])("%j: %i", (text, count) => {
    expect(started(text)).toBe(count);
  });

  test.each(["user", "group", "privileges"])("none if %s is set: the process executes itself again", (key) => {
    expect(started(`workers: 2\n${key}: x\n`)).toBe(0);
    expect(started(`workers: 2\n${key}: x\n`, true)).toBe(2);
  });

  test("a file that can't be read doesn't matter here", () => {
    startThreads(folder.at("nowhere.yaml"), false);
    releaseThreads();
  });
});

describe("a thread is taken", () => {
  test("of those that were started, then one that is started for it", () => {
    const file = folder.write("two.yaml", "workers: 2\n");
    const before = take();
    startThreads(file, false);
    expect([take(), take(), take()]).toEqual([before + 1, before + 2, before + 3]);
  });
});
