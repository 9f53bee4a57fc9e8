/** The relay's threads, as its control plane sees them. */
import { Worker } from "node:worker_threads";
import { HandoffError } from "../../errors.js";
import { createRelayCounters } from "../../relay/counters.js";
import { createRelayGauges } from "../../relay/gauges.js";
import type {
  RelayCommand,
  RelayMemory,
  RelayReport,
  RelaySettings,
  RelayTargetStatus,
  RelayWorkerData,
} from "../../relay/settings.js";
import { createTargetStats } from "../../relay/target-stats.js";
import { descriptorLimit } from "../descriptor-limit.js";
import { inTime } from "../in-time.js";
import { type ReportOf, Reports } from "../reports.js";

/** Descriptors that the process needs beside connections: doors' channels, log, libuv's own; at most half of all. */
const RESERVED_DESCRIPTORS = 512;
const MOST_CONNECTIONS = 1 << 20;
/** Of all workers: at 64 KiB each what an unprivileged user may have at once (pipe(7), pipe-user-pages-soft). */
const MOST_PIPES = 1024;
/** How much later than told a worker may be with its end before it counts as stuck. Milliseconds. */
const LATE = 2000;

export interface RelayWorkersListener {
  log(report: ReportOf<RelayReport, "log">): void;
  targetFailed(report: ReportOf<RelayReport, "targetFailed">): void;
  /** A worker ended by itself: a defect. Its connections are gone with it. */
  died(error: Error): void;
}

export class RelayWorkers {
  private readonly threads: Worker[] = [];
  readonly memories: RelayMemory[] = [];
  /** What each worker writes about the targets of the settings that were given last. */
  targetMemories: readonly SharedArrayBuffer[] = [];
  private readonly listener: RelayWorkersListener;
  private readonly reports: Reports<RelayReport> = new Reports();
  private isEnding: boolean = false;
  private notStarted: ((error: Error) => void) | undefined;
  private snapshots: number = 0;

  private constructor(listener: RelayWorkersListener) {
    this.listener = listener;
  }

  /** Starts them; resolves when their sockets are there. Throws ERR_WORKER. */
  static async start(count: number, settings: RelaySettings, listener: RelayWorkersListener): Promise<RelayWorkers> {
    const workers = new RelayWorkers(listener);
    const configured = workers.reports.all("configured", count, ({ generation }) => generation === settings.generation);
    const limit = descriptorLimit();
    const reserved = Math.min(RESERVED_DESCRIPTORS, limit >> 1);
    const pipes = Math.max(1, Math.min(MOST_PIPES, limit >> 3));
    const capacity = Math.floor((limit - reserved - 2 * pipes) / 2 / count);
    workers.targetMemories = Array.from({ length: count }, () => createTargetStats(settings));
    for (let index = 0; index < count; index++) {
      const memory = { counters: createRelayCounters(), gauges: createRelayGauges() };
      workers.memories.push(memory);
      workers.spawn({
        index,
        settings,
        memory,
        targetMemory: workers.targetMemories[index]!,
        capacity: Math.max(1, Math.min(MOST_CONNECTIONS, capacity)),
        pipes: Math.max(1, Math.floor(pipes / count)),
      });
    }
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

  private spawn(data: RelayWorkerData): void {
    const worker = new Worker(new URL("./worker.js", import.meta.url));
    worker.on("message", (report: RelayReport) => {
      if (report.type === "log") this.listener.log(report);
      if (report.type === "targetFailed") this.listener.targetFailed(report);
      this.reports.add(report, data.index);
    });
    worker.on("error", (error) => this.died(error));
    worker.on("exit", (status) => this.died(new HandoffError("ERR_WORKER", `a worker ended with status ${status}`)));
    worker.postMessage(data);
    this.threads.push(worker);
  }

  private died(error: Error): void {
    if (this.isEnding) return;
    this.isEnding = true;
    if (this.notStarted !== undefined) this.notStarted(error);
    else this.listener.died(error);
  }

  /** Resolves when every worker runs with these settings: `targetMemories` are theirs from then on. */
  async configure(settings: RelaySettings): Promise<void> {
    const { length } = this.threads;
    const configured = this.reports.all("configured", length, ({ generation }) => generation === settings.generation);
    const memories = this.threads.map(() => createTargetStats(settings));
    this.threads.forEach((thread, index) => {
      thread.postMessage({
        type: "configure",
        settings,
        targetMemory: memories[index]!,
      } satisfies RelayCommand);
    });
    await configured;
    this.targetMemories = memories;
  }

  command(command: RelayCommand): void {
    for (const thread of this.threads) thread.postMessage(command);
  }

  /** The targets as each worker sees them. */
  async snapshot(): Promise<readonly RelayTargetStatus[]> {
    const id = ++this.snapshots;
    const answers = this.reports.all("snapshot", this.threads.length, (report) => report.id === id);
    this.command({ type: "snapshot", id });
    return (await answers).flatMap(({ targets }) => targets);
  }

  /** Resolves when no connection is left, or `timeout` has passed: to how many were reset then. undefined: one is stuck. */
  async drain(timeout: number): Promise<number | undefined> {
    const drained = this.reports.all("drained", this.threads.length);
    this.command({ type: "drain", timeout });
    const reports = await inTime(drained, timeout + LATE);
    return reports?.reduce((sum, { reset }) => sum + reset, 0);
  }

  /** Resolves to whether all have ended: one that is stuck keeps the process from its end. */
  async terminate(): Promise<boolean> {
    this.isEnding = true;
    const ended = Promise.all(this.threads.map((thread) => thread.terminate()));
    return (await inTime(ended, LATE)) !== undefined;
  }
}
