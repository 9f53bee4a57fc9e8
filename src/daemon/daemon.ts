/**
 * The control plane of one process: what is in force, and how it changes. One change at a time; each either happens
 * whole, or leaves everything as it was and says why.
 */
import type { Adopted, LogLevel } from "../door/settings.js";
import { ConfigurationError, formatProblem } from "../errors.js";
import { type Configuration, loadConfiguration } from "./configuration/index.js";
import type { Answer } from "./control/controlled.js";
import type { InstanceWatch } from "./instance-watch.js";
import { watchInstances } from "./instances.js";
import type { Listeners } from "./listeners.js";
import type { Log } from "./log.js";
import { type Successor, startSuccessor } from "./upgrade/leader.js";
import { Workers } from "./workers.js";

/** How long handshakes that have begun may take to be completed while new clients are turned away. Milliseconds. */
const LAST_HANDSHAKES = 250;

const AS_PROCESS_1 = "it is process 1, with which its container ends; start a new container instead";

export type DaemonState = "starting" | "running" | "reloading" | "upgrading" | "draining";

export interface DaemonParts {
  readonly configuration: Configuration;
  readonly listeners: Listeners;
  readonly log: Log;
  /** False in an upgrade: accepts nothing before `accept`. */
  readonly accepting: boolean;
}

export class Daemon {
  private configuration: Configuration;
  private readonly listeners: Listeners;
  private readonly log: Log;
  private workers: Workers | undefined;
  private watch: InstanceWatch;
  /** Memory of the route table before this one: free for the next. */
  private spareRegion: SharedArrayBuffer | undefined;
  private state: DaemonState = "starting";
  private reloadAgain: boolean = false;
  private readonly upgradeAbort: AbortController = new AbortController();
  private finish!: (status: number) => void;
  /** Resolves to the exit status when this process is done. */
  readonly ended: Promise<number> = new Promise((resolve) => {
    this.finish = resolve;
  });

  private constructor({ configuration, listeners, log }: DaemonParts) {
    this.configuration = configuration;
    this.listeners = listeners;
    this.log = log;
    this.watch = watchInstances(configuration, log, () => this.workers);
  }

  /** Resolves when the workers run. Throws HandoffErrors. The listeners are owned from now on. */
  static async start(parts: DaemonParts): Promise<Daemon> {
    const daemon = new Daemon(parts);
    const { configuration, listeners, log, accepting } = parts;
    daemon.workers = await Workers.start(
      {
        count: configuration.workers,
        settings: configuration.door,
        routes: configuration.routes,
        listeners: listeners.descriptors,
        accepting,
        instances: daemon.watch.instances,
      },
      {
        log: ({ level, event, message, fields }) => log[level]({ event, ...fields }, message),
        died: (error) => {
          log.fatal({ event: "worker.died", stack: error.stack }, `a worker died: ${error.message}`);
          daemon.finish(1);
        },
      },
    );
    daemon.state = "running";
    return daemon;
  }

  // --- reload ------------------------------------------------------------------------------------------------------

  /** Puts the configuration file as it is now into force, or says why not. */
  async reload(): Promise<Answer> {
    if (this.state === "reloading") this.reloadAgain = true;
    if (this.state !== "running") return { ok: false, message: `not now: the door is ${this.state}` };
    this.state = "reloading";
    let answer: Answer;
    do {
      this.reloadAgain = false;
      answer = await this.reloadOnce();
    } while (this.reloadAgain);
    if (this.state === "reloading") this.state = "running";
    return answer;
  }

  private async reloadOnce(): Promise<Answer> {
    try {
      const next = await this.loadNext();
      const details = await this.use(next);
      const message = `generation ${next.door.generation} is in force: ${next.names} names, ${next.door.backends.length} backends`;
      this.log.info(
        { event: "reloaded", generation: next.door.generation, names: next.names, listeners: this.listeners.addresses },
        message,
      );
      this.useLogLevel(next.log.level);
      return { ok: true, message, details };
    } catch (error) {
      return this.notReloaded(error as Error);
    }
  }

  private notReloaded(error: Error): Answer {
    const details = error instanceof ConfigurationError ? error.problems.map(formatProblem) : [error.message];
    const message = `generation ${this.configuration.door.generation} stays in force: the new configuration cannot be used`;
    this.log.error({ event: "reload.failed", problems: details }, `${message}: ${details[0]}`);
    return { ok: false, message, details };
  }

  private loadNext(): Promise<Configuration> {
    const { configuration, spareRegion } = this;
    return loadConfiguration(configuration.file, {
      generation: configuration.door.generation + 1,
      ...(spareRegion !== undefined && { region: spareRegion }),
    });
  }

  /** Said at a level that is certain to be written: from here on lines may be missing. */
  private useLogLevel(level: LogLevel): void {
    const { log } = this;
    if (log.level === level) return;
    const from = log.level;
    log.level = "info";
    log.info({ event: "log.level", from, to: level }, `lines below ${level} are not written from here on`);
    log.level = level;
  }

  /** Throws before anything has changed. Returns remarks. */
  private async use(next: Configuration): Promise<string[]> {
    const { listeners, configuration: before } = this;
    const change = listeners.prepare(next.listeners);
    const watch = watchInstances(next, this.log, () => this.workers);
    const descriptors = change.next.map(({ descriptor }) => descriptor);
    this.watch.close();
    this.watch = watch;
    await this.workers!.configure(next.door, next.routes, watch.instances, descriptors);
    change.commit();
    this.configuration = next;
    // No worker reads it any more.
    if (before.routes !== next.routes) this.spareRegion = before.routes;
    return next.warnings.map(formatProblem);
  }

  // --- upgrade -----------------------------------------------------------------------------------------------------

  /** Starts the program anew and hands everything over to it, or goes on and says why. */
  async upgrade(): Promise<Answer> {
    if (this.state !== "running") return { ok: false, message: `not now: the door is ${this.state}` };
    if (process.pid === 1) return this.notUpgraded(new Error(AS_PROCESS_1));
    this.state = "upgrading";
    this.log.info({ event: "upgrading" }, "starting the program anew");
    let successor: Successor;
    try {
      successor = await startSuccessor({
        workers: this.workers!.count,
        listeners: this.listeners.all,
        control: -1,
        metrics: -1,
        landlock: "",
        timeout: this.configuration.timeouts.upgrade,
        signal: this.upgradeAbort.signal,
        prepared: () => {},
      });
    } catch (error) {
      return this.notUpgraded(error as Error);
    }
    return this.handOver(successor);
  }

  private notUpgraded(error: Error): Answer {
    if (this.state === "upgrading") this.state = "running";
    const message = `process ${process.pid} stays in charge: ${error.message}`;
    this.log.error({ event: "upgrade.failed" }, message);
    return { ok: false, message };
  }

  /** From here on the new process accepts. */
  private async handOver(successor: Successor): Promise<Answer> {
    const workers = this.workers!;
    workers.passOn(successor.channels);
    const drained = workers.drain(this.configuration.timeouts.drain, () => {});
    const failed = await Promise.race([drained.then(() => undefined), successor.ended]);
    if (failed !== undefined) {
      workers.command({ type: "accept" });
      await this.use({ ...this.configuration });
      return this.notUpgraded(new Error(`the new process ${failed} while it took over`));
    }
    const message = `process ${successor.pid} has taken over from process ${process.pid}`;
    this.log.info({ event: "upgraded", successor: successor.pid, counters: workers.totals }, message);
    successor.release();
    setImmediate(() => this.end(0));
    return { ok: true, message };
  }

  /** This process was started by one that runs, and is to accept now. */
  accept(): void {
    this.workers!.command({ type: "accept" });
  }

  /** A connection that the process before had accepted. */
  adopt(connection: Adopted): void {
    this.workers!.adopt(connection);
  }

  // --- the end -----------------------------------------------------------------------------------------------------

  /** Accepts no more, finishes what waits, and ends. */
  async stop(reason: string): Promise<void> {
    if (this.state === "draining") return;
    this.upgradeAbort.abort(new Error(`${reason} came in the middle of it`));
    this.state = "draining";
    const { listeners, log, workers } = this;
    log.info({ event: "stopping", signal: reason }, `${reason}: accepting no more, finishing what waits`);
    listeners.refuseNewClients();
    await new Promise((resolve) => setTimeout(resolve, LAST_HANDSHAKES));
    const abandoned = await workers!.drain(this.configuration.timeouts.drain, () => listeners.close());
    log.info({ event: "stopped", abandoned, counters: workers!.totals }, "stopped");
    await this.end(0);
  }

  /** At once: what waits is abandoned. */
  async stopNow(): Promise<void> {
    this.log.info({ event: "stopped", counters: this.workers!.totals }, "stopped at once by a second signal");
    await this.end(0);
  }

  private async end(status: number): Promise<void> {
    this.watch.close();
    await this.workers!.terminate();
    this.finish(status);
  }
}
