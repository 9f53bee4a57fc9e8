/** The data plane's threads, as the control plane sees them. */
import type { Worker } from "node:worker_threads";
import { createAccessRing } from "../door/access-events.js";
import { createBackendCounters } from "../door/backend-counters.js";
import { type CounterName, createCounters, sumCounters } from "../door/counters.js";
import { createGauges, readGauges } from "../door/gauges.js";
import { createLatencies } from "../door/latency.js";
import { createLimitMemory } from "../door/limits.js";
import type {
  Adopted,
  BackendMemory,
  ChannelStatus,
  DoorSettings,
  WorkerCommand,
  WorkerData,
  WorkerMemory,
  WorkerReport,
} from "../door/settings.js";
import { HandoffError } from "../errors.js";
import { descriptorLimit } from "./descriptor-limit.js";
import { inTime } from "./in-time.js";
import { Reports } from "./reports.js";
import { releaseThreads, takeThread } from "./threads.js";

/** Descriptors that the process needs beside connections: listeners, channels, log, libuv's own; at most half of all. */
const RESERVED_DESCRIPTORS = 512;
const MOST_CONNECTIONS = 1 << 20;
/** How much later than told a worker may be with its end before it counts as stuck. Milliseconds. */
const LATE = 2000;

export interface WorkersStart {
  readonly count: number;
  readonly settings: DoorSettings;
  readonly routes: SharedArrayBuffer;
  readonly listeners: readonly number[];
  /** False: they accept nothing before `accept`. */
  readonly accepting: boolean;
  readonly instances: readonly (readonly string[])[];
}

export interface WorkersListener {
  log(report: Extract<WorkerReport, { type: "log" }>): void;
  /** A worker ended by itself: a defect. Its connections are gone with it. */
  died(error: Error): void;
}

export class Workers {
  private readonly threads: Worker[] = [];
  /** What each worker writes. */
  readonly memories: WorkerMemory[] = [];
  /** What each worker writes about the backends of the configuration that was given last. */
  backendMemories: readonly BackendMemory[] = [];
  /** What limits count (door/limits.ts). */
  readonly sketch: SharedArrayBuffer = createLimitMemory();
  private readonly listener: WorkersListener;
  private readonly reports: Reports<WorkerReport> = new Reports();
  private ending: boolean = false;
  /** What a worker's death does before all of them have started. */
  private notStarted: ((error: Error) => void) | undefined;
  private nextAdopter: number = 0;
  private snapshots: number = 0;
  private heldNow: Int32Array = new Int32Array(0);

  private constructor(listener: WorkersListener) {
    this.listener = listener;
  }

  /** Starts them; resolves when all of them accept. Throws ERR_WORKER. */
  static async start(start: WorkersStart, listener: WorkersListener): Promise<Workers> {
    const workers = new Workers(listener);
    const configured = workers.reports.all("configured", start.count);
    const limit = descriptorLimit();
    // If clients could take them all, no channel could be opened to the instance that they wait for.
    const reserved = Math.min(RESERVED_DESCRIPTORS, limit >> 1);
    const capacity = Math.max(1, Math.floor((limit - reserved) / start.count));
    const held = heldCounts(start.settings);
    workers.heldNow = new Int32Array(held);
    workers.backendMemories = backendMemories(start.settings, start.count);
    for (let index = 0; index < start.count; index++) {
      const memory = { counters: createCounters(), gauges: createGauges(), accessRing: createAccessRing() };
      workers.memories.push(memory);
      workers.spawn({
        index,
        settings: start.settings,
        routes: start.routes,
        memory,
        backendMemory: workers.backendMemories[index]!,
        sketch: workers.sketch,
        held,
        listeners: start.listeners,
        accepting: start.accepting,
        instances: start.instances,
        capacity: Math.min(MOST_CONNECTIONS, capacity),
        unacknowledgedLimit: Math.max(1, Math.floor(limit / 2 / start.count)),
      });
    }
    releaseThreads();
    const failed = new Promise<never>((_, reject) => {
      workers.notStarted = reject;
    });
    try {
      await Promise.race([configured, failed]);
    } catch (error) {
      await workers.terminate();
      throw new HandoffError("ERR_WORKER", `a worker cannot be started: ${(error as Error).message}`, { cause: error });
    }
    workers.notStarted = undefined;
    return workers;
  }

  private spawn(data: WorkerData): void {
    const worker = takeThread();
    worker.on("message", (report: WorkerReport) => {
      if (report.type === "log") this.listener.log(report);
      this.reports.add(report, data.index);
    });
    worker.on("error", (error) => this.died(error));
    worker.on("exit", (status) => this.died(new HandoffError("ERR_WORKER", `a worker ended with status ${status}`)));
    worker.postMessage(data);
    this.threads.push(worker);
  }

  private died(error: Error): void {
    if (this.ending) return;
    this.ending = true;
    if (this.notStarted !== undefined) this.notStarted(error);
    else this.listener.died(error);
  }

  /**
   * Puts a configuration into force in every worker, each between two of its turns. Resolves when none of them reads the
   * earlier route table any more: its memory may be written again.
   */
  async configure(
    settings: DoorSettings,
    routes: SharedArrayBuffer,
    instances: readonly (readonly string[])[],
    listeners: readonly number[],
  ): Promise<void> {
    const configured = this.reports.all(
      "configured",
      this.threads.length,
      (report) => report.generation === settings.generation,
    );
    const held = heldCounts(settings);
    this.backendMemories = backendMemories(settings, this.threads.length);
    this.threads.forEach((thread, index) => {
      const backendMemory = this.backendMemories[index]!;
      thread.postMessage({
        type: "configure",
        settings,
        routes,
        held,
        instances,
        listeners,
        backendMemory,
      } satisfies WorkerCommand);
    });
    await configured;
    this.heldNow = new Int32Array(held);
  }

  command(command: WorkerCommand): void {
    for (const thread of this.threads) thread.postMessage(command);
  }

  /** A connection that another process had accepted: to the workers in turn. */
  adopt(connection: Adopted): void {
    this.nextAdopter = (this.nextAdopter + 1) % this.threads.length;
    this.threads[this.nextAdopter]!.postMessage({ type: "adopt", connection } satisfies WorkerCommand);
  }

  /** Gives each worker its channel to the process that takes over; the descriptors are the workers' from now on. */
  passOn(channels: readonly number[]): void {
    for (const [index, thread] of this.threads.entries()) {
      thread.postMessage({ type: "passOn", descriptor: channels[index]! } satisfies WorkerCommand);
    }
  }

  get count(): number {
    return this.threads.length;
  }

  /** The channels of each worker. Everything that was commanded before is done by then. */
  async snapshot(): Promise<(readonly ChannelStatus[])[]> {
    const id = ++this.snapshots;
    const answers = this.reports.all("snapshot", this.threads.length, (report) => report.id === id);
    this.command({ type: "snapshot", id });
    return (await answers).map(({ channels }) => channels);
  }

  /** Connections that are held for the backend with this index now. */
  held(backend: number): number {
    return Atomics.load(this.heldNow, backend);
  }

  /** Sums of all workers' counters. */
  get totals(): Record<CounterName, number> {
    return sumCounters(this.memories.map(({ counters }) => counters));
  }

  /**
   * Empties the backlogs, calls `stopped` when nothing more is accepted, and resolves when no connection is left or
   * `timeout` milliseconds have passed: to the number of connections that were abandoned then. A worker that is stuck is
   * not waited for much longer, and what it has is abandoned too.
   */
  async drain(timeout: number, stopped: () => void): Promise<number> {
    const drained = this.reports.all("drained", this.threads.length);
    this.reports.all("stopped", this.threads.length).then(stopped);
    this.command({ type: "drain", timeout });
    const reports = await inTime(drained, timeout + LATE);
    if (reports !== undefined) return reports.reduce((sum, { abandoned }) => sum + abandoned, 0);
    return this.memories.reduce((sum, { gauges }) => sum + readGauges(gauges).connections, 0);
  }

  /** Resolves to whether all have ended: one that is stuck keeps the process from its end. */
  async terminate(): Promise<boolean> {
    this.ending = true;
    const ended = Promise.all(this.threads.map((thread) => thread.terminate()));
    return (await inTime(ended, LATE)) !== undefined;
  }
}

function backendMemories(settings: DoorSettings, workers: number): BackendMemory[] {
  const backends = settings.backends.length;
  return Array.from({ length: workers }, () => ({
    counters: createBackendCounters(backends),
    latencies: createLatencies(backends),
  }));
}

/** One count for each backend, shared by all workers. */
function heldCounts(settings: DoorSettings): SharedArrayBuffer {
  return new SharedArrayBuffer(Math.max(1, settings.backends.length) * Int32Array.BYTES_PER_ELEMENT);
}
