/**
 * Threads for workers. Starting one, and loading its modules, takes about as long as loading the control plane's: so
 * they may be started before that, when nothing is known yet but the configuration file's name.
 */
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { defaultWorkers } from "./configuration/default-workers.js";

/** So much of a file is looked at. Bytes. */
const GLANCE = 65_536;
const MOST_AHEAD = 16;

/** Started and not taken yet. They don't keep the process alive. */
const waiting: Worker[] = [];

/**
 * Starts as many threads as the door is likely to need. A wrong guess costs time and nothing else: the configuration is
 * not even parsed here, and `takeThread` starts what is missing.
 */
export function startThreads(file: string, isSuccessor: boolean): void {
  for (let count = likelyWorkers(file, isSuccessor); count > 0; count--) {
    const thread = startThread();
    thread.unref();
    waiting.push(thread);
  }
}

/** A thread that runs door/worker.ts, the caller's from now on: its first message is a `WorkerData`. */
export function takeThread(): Worker {
  const thread = waiting.shift() ?? startThread();
  // One that could not start has ended; another may say why to those who listen.
  if (thread.threadId === -1) return takeThread();
  thread.removeListener("error", ignore);
  thread.ref();
  return thread;
}

/** No more are needed. */
export function releaseThreads(): void {
  for (const thread of waiting.splice(0)) void thread.terminate();
}

function startThread(): Worker {
  return new Worker(new URL("../door/worker.js", import.meta.url)).on("error", ignore);
}

function ignore(): void {}

function likelyWorkers(file: string, isSuccessor: boolean): number {
  const text = glance(file);
  // A process that gives up privileges executes itself again, and its threads are lost.
  if (!isSuccessor && /^(?:user|group|privileges) *:/m.test(text)) return 0;
  const configured = /^workers *: *(\d{1,3})\b/m.exec(text)?.[1];
  return Math.min(configured === undefined ? defaultWorkers : Number(configured), MOST_AHEAD);
}

/** The beginning of a file; "" for a pipe, which can be read once only, and for one that can't be read. */
function glance(file: string): string {
  try {
    if (!statSync(file).isFile()) return "";
    const descriptor = openSync(file, "r");
    try {
      const bytes = Buffer.alloc(GLANCE);
      return bytes.toString("latin1", 0, readSync(descriptor, bytes));
    } finally {
      closeSync(descriptor);
    }
  } catch {
    return "";
  }
}
