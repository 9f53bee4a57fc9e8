/**
 * The control plane of one process: what is in force, and how it changes. One change at a time; each either happens
 * whole, or leaves everything as it was and says why.
 */
import { basename } from "node:path";
import { AccessReader } from "../door/access-events.js";
import type { Adopted, LogLevel } from "../door/settings.js";
import { ConfigurationError, formatProblem, HandoffError } from "../errors.js";
import { AccessLog } from "./access-log.js";
import { type Configuration, configuredBackends, isBuiltIn, loadConfiguration } from "./configuration/index.js";
import type { Answer, Controlled } from "./control/controlled.js";
import { counted } from "./counted.js";
import type { Endpoints } from "./endpoints.js";
import { Heartbeats } from "./heartbeats.js";
import type { InstanceWatch } from "./instance-watch.js";
import { watchInstances } from "./instances.js";
import type { Listeners } from "./listeners.js";
import type { DaemonLog } from "./log.js";
import { LoopLag } from "./loop-lag.js";
import { beyondReach, type GivenUp, gatherFacts, landlockPlan } from "./privileges/index.js";
import { RelayKeeper } from "./relay/keeper.js";
import { type Reported, Reporting } from "./reporting.js";
import type { Status } from "./status.js";
import type { Notifier } from "./systemd/notify.js";
import { Watchdog } from "./systemd/watchdog.js";
import { Totals } from "./totals.js";
import { type Candidate, type Successor, startSuccessor } from "./upgrade/leader.js";
import { Workers } from "./workers.js";

/** How long handshakes that have begun may take to be completed while new clients are turned away. Milliseconds. */
const LAST_HANDSHAKES = 250;
/** How long passing on what waits may take at least, however little time a stop has. Milliseconds. */
const LEAST_PASSING_ON = 2000;
/** What is left to do when everything has ended but a worker that is stuck. Milliseconds. */
const LAST_STEPS = 250;
/** Counters are added up, and workers asked for a sign of life, as often. Milliseconds. */
const LOOK_EVERY = 1000;
/** `systemctl status` shows a line that is at most so old. Milliseconds. */
const STATUS_EVERY = 10_000;

const levels: readonly LogLevel[] = ["debug", "info", "warn", "error"];
const STUCK = "restart the door if it stays so";
const AS_PROCESS_1 = "it is process 1, with which its container ends; start a new container instead";

export interface DaemonParts {
  readonly configuration: Configuration;
  readonly listeners: Listeners;
  readonly endpoints: Endpoints;
  readonly log: DaemonLog;
  readonly notifier: Notifier | undefined;
  /** What WATCHDOG_USEC said; undefined without a watchdog. Microseconds. */
  readonly watchdogPeriod: number | undefined;
  /** The privileges that this process, or the one before it, gave up; undefined: none. */
  readonly givenUp: GivenUp | undefined;
  /** False in an upgrade: accepts nothing before `accept`. */
  readonly accepting: boolean;
  /** What the operator had drained in the process before. */
  readonly drained: readonly string[];
  /** Given on the command line: reloads leave it. */
  readonly logLevel: LogLevel | undefined;
  /** Called when a process that was to take over is gone, and this one stays in charge. */
  readonly staysInCharge: (failed: number) => void;
}

export class Daemon implements Controlled {
  private readonly parts: DaemonParts;
  private readonly log: DaemonLog;
  private configuration: Configuration;
  private workers!: Workers;
  private totals!: Totals;
  private accessLog!: AccessLog;
  private heartbeats!: Heartbeats;
  private reporting!: Reporting;
  private watchdog: Watchdog | undefined;
  private watch: InstanceWatch;
  private readonly relay: RelayKeeper;
  private look: NodeJS.Timeout | undefined;
  private statusSaidAt: number = 0;
  /** Memory of the route table before this one: free for the next. */
  private spareRegion: SharedArrayBuffer | undefined;
  private spareHttpRegion: SharedArrayBuffer | undefined;
  private state: Status["state"] = "running";
  /** False while the process before goes on if this one fails. */
  private isInCharge: boolean;
  /** Reloads, upgrades and looks at what a reload would change: one after the other. */
  private turn: Promise<unknown> = Promise.resolve();
  /** The reload that has not begun yet. */
  private dueReload: Promise<Answer> | undefined;
  private isUpgradeAsked: boolean = false;
  /** The process that takes over, from when it was told to accept. What is asked of this one is asked of it, too. */
  private successor: Candidate | undefined;
  /** The same, once it accepts. */
  private heir: Successor | undefined;
  /** Why that was told to end. */
  private stopReason: string | undefined;
  private readonly upgradeAbort: AbortController = new AbortController();
  private readonly drained: Set<string>;
  private loadedAt: string = new Date().toISOString();
  private lastReload: Status["configuration"]["lastReload"];
  private readonly reloads: { succeeded: number; failed: number } = { succeeded: 0, failed: 0 };
  private readonly upgrades: { succeeded: number; failed: number } = { succeeded: 0, failed: 0 };
  private finish!: (status: number) => void;
  /** Resolves to the exit status when this process is done. */
  readonly ended: Promise<number> = new Promise((resolve) => {
    this.finish = resolve;
  });

  private constructor(parts: DaemonParts) {
    this.parts = parts;
    this.configuration = parts.configuration;
    this.log = parts.log;
    this.isInCharge = parts.accepting;
    this.drained = new Set(parts.drained);
    this.relay = new RelayKeeper(parts.configuration, parts.log, parts.logLevel, () => this.watch.again());
    this.watch = watchInstances(parts.configuration, parts.log, () => this.workers);
  }

  /** Resolves when the workers run. Throws HandoffErrors; then nothing is left that does. */
  static async start(parts: DaemonParts): Promise<Daemon> {
    const daemon = new Daemon(parts);
    try {
      await daemon.startWorkers();
    } catch (error) {
      daemon.watch.close();
      daemon.relay.close();
      throw error;
    }
    return daemon;
  }

  private async startWorkers(): Promise<void> {
    const { configuration, log } = this;
    const { door } = configuration;
    if (this.parts.accepting) this.relay.start();
    const instances = [...this.watch.instances];
    this.workers = await Workers.start(
      {
        count: configuration.workers,
        settings: door,
        routes: configuration.routes,
        listeners: this.parts.listeners.descriptors,
        accepting: this.parts.accepting,
        instances,
      },
      {
        log: ({ level, event, message, fields }) => log[level]({ event, ...fields }, message),
        died: (error) => {
          void this.fail("worker.died", error, `a worker died: ${error.message}`);
        },
      },
    );
    // What changed meanwhile there was nobody to be told to.
    this.watch.instances.forEach((paths, backend) => {
      if (paths !== instances[backend]) this.workers.command({ type: "instances", backend, paths });
    });
    const { memories, backendMemories } = this.workers;
    this.totals = new Totals(memories);
    this.totals.use(door.backends, backendMemories);
    const readers = memories.map(({ accessRing }) => new AccessReader(accessRing));
    this.accessLog = new AccessLog(readers, log);
    this.nameEvents(configuration);
    this.heartbeats = new Heartbeats(this.workers);
    this.reporting = new Reporting(new LoopLag(), this.heartbeats);
    if (this.drained.size > 0) this.workers.command({ type: "drained", targets: [...this.drained] });
    this.look = setInterval(() => {
      this.totals.look();
      // A watchdog asks by itself, and must not find a question that was asked this moment.
      if (this.watchdog === undefined) this.heartbeats.ping();
      this.saySystemStatus();
    }, LOOK_EVERY);
    this.look.unref();
  }

  /** This process serves: the operators' sockets answer, and the service manager is told. */
  announce(): void {
    const { endpoints, notifier } = this.parts;
    endpoints.serve(this, this.log);
    notifier?.ready(this.systemStatus());
    this.watchWorkers();
  }

  /** For the service manager. */
  private watchWorkers(): void {
    const { notifier, watchdogPeriod } = this.parts;
    if (notifier === undefined || watchdogPeriod === undefined) return;
    this.watchdog = new Watchdog(watchdogPeriod, {
      ping: () => this.heartbeats.ping(),
      answered: () => this.heartbeats.repeated,
      feed: () => notifier.watchdog(),
    });
  }

  private systemStatus(): string {
    const { names, door } = this.configuration;
    const { accepted, acknowledged } = this.totals.counters;
    return `${this.state}: ${counted(names, "name")}, generation ${door.generation}; ${accepted} accepted, ${acknowledged} handed over`;
  }

  private saySystemStatus(): void {
    const now = performance.now();
    if (this.parts.notifier === undefined || now - this.statusSaidAt < STATUS_EVERY) return;
    this.statusSaidAt = now;
    if (this.state === "running") this.parts.notifier.status(this.systemStatus());
  }

  /** The numbers in access events, by this generation. */
  private nameEvents({ door }: Configuration, listeners = this.parts.listeners.all): void {
    // Where a connection was refused for want of a backend its line has none; nor has one that was passed on.
    const backends = door.backends.map(({ name }) => (isBuiltIn(name) ? "" : name));
    const patterns = door.rules.patterns.map(({ match }) => match);
    this.accessLog.configure(door.generation, { listeners: listeners.map(({ name }) => name), backends, patterns });
  }

  // --- what is asked -----------------------------------------------------------------------------------------------

  async status(): Promise<Status> {
    return this.reporting.status(() => this.reported);
  }

  async metrics(): Promise<{ contentType: string; text: string }> {
    return this.reporting.metrics(() => this.reported);
  }

  private get reported(): Reported {
    const { parts } = this;
    return {
      configuration: this.configuration,
      loadedAt: this.loadedAt,
      lastReload: this.lastReload,
      state: this.state,
      workers: this.workers,
      totals: this.totals,
      listeners: parts.listeners.all.map(({ name, address, source }, index) => ({
        name,
        address,
        protocol: this.configuration.listeners[index]?.door.protocol ?? "tls",
        source,
      })),
      drained: this.drained,
      relay: this.relay.kept,
      control: parts.endpoints.controlPath,
      metrics: parts.endpoints.metricsAddress,
      landlock: parts.givenUp?.outcome ?? "off",
      systemd: { notify: parts.notifier !== undefined, watchdog: (parts.watchdogPeriod ?? 0) / 1e6 },
      accessLogDropped: this.accessLog.dropped,
      logDropped: this.log.sink.dropped,
      reloads: this.reloads,
      upgrades: this.upgrades,
    };
  }

  // --- reload ------------------------------------------------------------------------------------------------------

  /** After the one before it. */
  private inTurn<T>(change: () => Promise<T>): Promise<T> {
    const done = this.turn.then(change);
    this.turn = done.catch(() => {});
    return done;
  }

  /**
   * Puts the configuration file as it is now into force, or says why not. Whoever asks while one is due is served by that
   * one; one that has begun may have read the file before.
   */
  reload(): Promise<Answer> {
    this.dueReload ??= this.inTurn(() => {
      this.dueReload = undefined;
      return this.reloadInTurn();
    });
    return this.heartbeats.unlessStuck(this.dueReload, () => ({
      ok: false,
      message: `${this.heartbeats.silence}: the reload goes on when it does; ${STUCK}`,
    }));
  }

  private async reloadInTurn(): Promise<Answer> {
    if (this.successor !== undefined) return this.askSuccessor("reload", (successor) => successor.reload());
    if (this.state !== "running") return this.notNow("reload");
    this.state = "reloading";
    this.parts.notifier?.reloading("reloading");
    const answer = await this.reloadOnce();
    // A stop may have come meanwhile.
    if (this.isReloading) {
      this.state = "running";
      this.parts.notifier?.ready(this.systemStatus());
    }
    return answer;
  }

  private get isReloading(): boolean {
    return this.state === "reloading";
  }

  private notNow(order: string): Answer {
    const message = `not now: the door is ${this.state}`;
    this.log.warn({ event: "order.refused", order }, `${order}: ${message}`);
    return { ok: false, message };
  }

  private askSuccessor(order: string, ask: (successor: Candidate) => boolean): Answer {
    const message = `process ${this.successor!.pid} has taken over from process ${process.pid}`;
    return ask(this.successor!)
      ? { ok: true, message: `${message}, and was told to ${order}` }
      : { ok: false, message: `${message}, and has ended` };
  }

  private async reloadOnce(): Promise<Answer> {
    let answer: Answer;
    try {
      const next = await this.loadNext();
      const { formatDiff, diffConfigurations } = await import("./configuration/index.js");
      const diff = diffConfigurations(this.configuration, next);
      if (!this.isReloading) throw new HandoffError("ERR_CLOSED", `the door is ${this.state}`);
      await this.use(next);
      answer = this.reloaded(next, [
        ...next.warnings.map(formatProblem),
        ...formatDiff(diff),
        ...this.outOfReach(next),
        ...this.unserved(),
        ...(await this.relay.use(next)),
      ]);
      this.reloads.succeeded++;
    } catch (error) {
      answer = this.notReloaded(error as Error);
      this.reloads.failed++;
    }
    this.lastReload = { at: new Date().toISOString(), ok: answer.ok, message: answer.message };
    return answer;
  }

  private reloaded({ door, names, log }: Configuration, details: readonly string[]): Answer {
    this.loadedAt = new Date().toISOString();
    const message = `generation ${door.generation} is in force: ${counted(names, "name")}, ${counted(configuredBackends(door).length, "backend")}`;
    const listeners = this.parts.listeners.addresses;
    this.log.info({ event: "reloaded", generation: door.generation, names, listeners, details }, message);
    if (this.parts.logLevel === undefined) this.useLogLevel(log.level);
    return { ok: true, message, details };
  }

  private notReloaded(error: Error): Answer {
    const details = error instanceof ConfigurationError ? error.problems.map(formatProblem) : [error.message];
    const message = `generation ${this.configuration.door.generation} stays in force: the new configuration cannot be used`;
    this.log.error({ event: "reload.failed", problems: details }, `${message}: ${details[0]}`);
    return { ok: false, message, details };
  }

  /** What the configuration needs, and this process cannot have any more. */
  private outOfReach(next: Configuration): string[] {
    const inForce = this.parts.givenUp?.landlock;
    if (inForce === undefined) return [];
    return beyondReach(inForce, landlockPlan(next, gatherFacts())).map(
      (what) => `needs restart: the door gave up its access to ${what} when it was started`,
    );
  }

  private unserved(): readonly string[] {
    const { unserved } = this.parts.listeners;
    for (const warning of unserved) this.log.warn({ event: "listener.warning" }, warning);
    return unserved;
  }

  private loadNext(): Promise<Configuration> {
    const { configuration, spareRegion, spareHttpRegion } = this;
    return loadConfiguration(configuration.file, {
      generation: configuration.door.generation + 1,
      ...(spareRegion !== undefined && { region: spareRegion }),
      ...(spareHttpRegion !== undefined && { httpRegion: spareHttpRegion }),
    });
  }

  /** Throws before anything has changed. */
  private async use(next: Configuration): Promise<void> {
    const { configuration: before, workers } = this;
    const change = this.parts.listeners.prepare(next.listeners);
    const watch = watchInstances(next, this.log, () => this.workers);
    this.nameEvents(next, change.next);
    this.watch.close();
    this.watch = watch;
    this.totals.look();
    await workers.configure(
      next.door,
      next.routes,
      watch.instances,
      change.next.map(({ descriptor }) => descriptor),
    );
    this.totals.use(next.door.backends, workers.backendMemories);
    change.commit();
    this.configuration = next;
    // No worker reads it any more.
    if (before.routes !== next.routes) this.spareRegion = before.routes;
    const httpBefore = before.door.http?.routes;
    if (httpBefore !== undefined && httpBefore !== next.door.http?.routes) this.spareHttpRegion = httpBefore;
  }

  diff(): Promise<Answer> {
    // In turn: it writes to the spare region.
    return this.heartbeats.unlessStuck(
      this.inTurn(() => this.diffInTurn()),
      () => ({ ok: false, message: `${this.heartbeats.silence}, and a reload waits for it; ${STUCK}` }),
    );
  }

  private async diffInTurn(): Promise<Answer> {
    if (this.state !== "running") return this.notNow("diff");
    try {
      const next = await this.loadNext();
      const { formatDiff, diffConfigurations } = await import("./configuration/index.js");
      const details = [
        ...next.warnings.map(formatProblem),
        ...formatDiff(diffConfigurations(this.configuration, next)),
        ...this.outOfReach(next),
      ];
      return { ok: true, message: `what a reload of ${next.file} would change`, details };
    } catch (error) {
      const details =
        error instanceof ConfigurationError ? error.problems.map(formatProblem) : [(error as Error).message];
      return { ok: false, message: `${this.configuration.file} cannot be used`, details };
    }
  }

  async setLogLevel(level: string): Promise<Answer> {
    if (!(levels as readonly string[]).includes(level)) {
      return { ok: false, message: `there is no level "${level}"; there are ${levels.join(", ")}` };
    }
    this.useLogLevel(level as LogLevel);
    return { ok: true, message: `lines below ${level} are not written, until the next reload or change` };
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

  // --- drain -------------------------------------------------------------------------------------------------------

  /** Gives nothing new to a backend, or to one instance of it. */
  drain(target: string): Promise<Answer> {
    return this.drainUnlessStuck(target, true);
  }

  undrain(target: string): Promise<Answer> {
    return this.drainUnlessStuck(target, false);
  }

  private drainUnlessStuck(target: string, drained: boolean): Promise<Answer> {
    return this.heartbeats.unlessStuck(this.setDrained(target, drained), () => ({
      ok: false,
      message: `${this.heartbeats.silence}, and takes this in when it does; ${STUCK}`,
    }));
  }

  private async setDrained(target: string, drained: boolean): Promise<Answer> {
    // The new process has been told what is drained.
    if (this.state === "upgrading") return this.notNow(drained ? "drain" : "undrain");
    const key = await this.drainKey(target);
    if (typeof key !== "string") return key;
    if (this.drained.has(key) === drained) {
      return { ok: true, message: `${target} ${drained ? "is drained already" : "was not drained"}` };
    }
    if (drained) this.drained.add(key);
    else this.drained.delete(key);
    this.workers.command({ type: "drained", targets: [...this.drained] });
    await this.workers.snapshot(); // by then it is in force
    this.log.info(
      { event: drained ? "drained" : "undrained", target },
      `${target} ${drained ? "drained" : "undrained"}`,
    );
    const what = drained ? "gets nothing new; what it has goes on" : "gets connections again";
    return { ok: true, message: `${target} ${what}` };
  }

  private async drainKey(target: string): Promise<string | Answer> {
    const slash = target.indexOf("/");
    const name = slash < 0 ? target : target.slice(0, slash);
    const backends = this.configuration.door.backends.filter(({ kind }) => kind !== "reject");
    if (!backends.some((backend) => backend.name === name)) {
      const known = backends.map((backend) => backend.name).join(", ");
      return {
        ok: false,
        message: `there is no backend "${name}" whose processes take connections; there are ${known || "none"}`,
      };
    }
    if (slash < 0) return name;
    const channels = (await this.workers.snapshot()).flat().filter(({ backend }) => backend === name);
    const instance = target.slice(slash + 1);
    const found = channels.find(({ path }) => path === instance || basename(path) === instance);
    if (found !== undefined) return `${name} ${found.path}`;
    const gone = [...this.drained].find((key) => key.startsWith(`${name} `) && basename(key) === instance);
    if (gone !== undefined) return gone;
    const known = [...new Set(channels.map(({ path }) => basename(path)))].join(", ");
    return { ok: false, message: `backend ${name} has no instance "${instance}"; it has ${known || "none"}` };
  }

  // --- upgrade -----------------------------------------------------------------------------------------------------

  /** Starts the program anew and hands everything over to it, or goes on and says why. */
  async upgrade(): Promise<Answer> {
    if (this.isUpgradeAsked) return { ok: false, message: "an upgrade goes on already" };
    this.isUpgradeAsked = true;
    try {
      return await this.inTurn(() => this.upgradeInTurn());
    } finally {
      this.isUpgradeAsked = false;
    }
  }

  private async upgradeInTurn(): Promise<Answer> {
    if (this.state !== "running") return this.notNow("upgrade");
    if (process.pid === 1) return this.notUpgraded(new Error(AS_PROCESS_1));
    this.state = "upgrading";
    this.log.info({ event: "upgrading" }, "starting the program anew");
    const { notifier, listeners, endpoints, givenUp, watchdogPeriod } = this.parts;
    notifier?.status("upgrading");
    let successor: Successor;
    try {
      successor = await startSuccessor({
        workers: this.workers.count,
        listeners: [...listeners.all, ...listeners.unused],
        ...endpoints.descriptors,
        givenUp,
        drained: [...this.drained],
        timeout: this.configuration.timeouts.upgrade,
        signal: this.upgradeAbort.signal,
        environment: {
          ...notifier?.environment,
          ...(watchdogPeriod !== undefined && { WATCHDOG_USEC: String(watchdogPeriod) }),
        },
        prepared: (candidate) => {
          this.successor = candidate;
          notifier?.mainPid(candidate.pid);
        },
        failed: this.parts.staysInCharge,
      });
    } catch (error) {
      return this.notUpgraded(error as Error);
    }
    return this.handOver(successor);
  }

  private notUpgraded(error: Error): Answer {
    this.successor = undefined;
    if (this.state === "upgrading") this.state = "running";
    this.upgrades.failed++;
    const message = `process ${process.pid} stays in charge: ${error.message}`;
    this.log.error({ event: "upgrade.failed" }, message);
    this.parts.notifier?.mainPid(process.pid);
    if (this.stopReason !== undefined) void this.stop(this.stopReason);
    else if (this.state === "running") this.parts.notifier?.status(`the upgrade failed: ${error.message}`);
    return { ok: false, message };
  }

  /** From here on the new process accepts. */
  private async handOver(successor: Successor): Promise<Answer> {
    const { workers } = this;
    this.heir = successor;
    this.watchdog?.close();
    workers.passOn(successor.channels);
    const drained = workers.drain(Math.max(LEAST_PASSING_ON, this.configuration.timeouts.drain), () => {});
    const ended = await Promise.race([drained.then(() => undefined), successor.ended]);
    if (ended !== undefined && !ended.isOrderly) return this.takeBack(successor.pid, ended.how);
    // If it has ended, it was told to: then nobody is to accept any more.
    await drained;
    const message = `process ${successor.pid} has taken over from process ${process.pid}`;
    this.log.info({ event: "upgraded", successor: successor.pid, counters: this.totals.counters }, message);
    setImmediate(() => void this.end(0));
    return { ok: true, message };
  }

  private async takeBack(failed: number, how: string): Promise<Answer> {
    this.heir = undefined;
    this.watchWorkers();
    this.parts.staysInCharge(failed);
    this.workers.command({ type: "accept" });
    try {
      await this.use({ ...this.configuration });
    } catch (error) {
      this.successor = undefined;
      void this.fail("upgrade.failed", error as Error);
    }
    return this.notUpgraded(new Error(`the new process ${how} while it took over`));
  }

  /** This process was started by one that runs, and is to accept now. */
  accept(): void {
    this.isInCharge = true;
    this.workers.command({ type: "accept" });
    this.relay.start();
  }

  /** A connection that the process before had accepted. */
  adopt(connection: Adopted): void {
    this.workers.adopt(connection);
  }

  // --- the end -----------------------------------------------------------------------------------------------------

  async stop(reason = "asked on the control socket"): Promise<Answer> {
    if (this.state === "draining") return { ok: true, message: "the door is stopping already" };
    if (this.successor !== undefined) {
      this.stopReason = reason;
      return this.askSuccessor("stop", (successor) => successor.end(1));
    }
    this.upgradeAbort.abort(new HandoffError("ERR_CLOSED", `the door was told to stop (${reason})`));
    this.state = "draining";
    this.parts.notifier?.stopping("finishing what waits");
    this.log.info({ event: "stopping", reason }, `${reason}: accepting no more, finishing what waits`);
    void this.finishAll().catch((error: Error) => this.fail("stop.failed", error));
    return { ok: true, message: `process ${process.pid} accepts no more, and ends when what waits is finished` };
  }

  private async finishAll(): Promise<void> {
    const { listeners } = this.parts;
    listeners.refuseNewClients();
    await new Promise((resolve) => setTimeout(resolve, LAST_HANDSHAKES));
    const abandoned = await this.workers.drain(this.configuration.timeouts.drain, () => listeners.close());
    this.log.info({ event: "stopped", abandoned, counters: this.totals.counters }, "stopped");
    await this.end(0);
  }

  /** At once: what waits is abandoned. */
  async stopNow(): Promise<void> {
    this.successor?.end(2);
    this.log.info({ event: "stopped", counters: this.totals.counters }, "stopped at once by a second signal");
    await this.end(0);
  }

  /** It cannot go on: whoever started it may start it again. */
  private async fail(event: string, error: Error, message = error.message): Promise<void> {
    this.upgradeAbort.abort(error);
    this.log.fatal({ event, stack: error.stack }, message);
    // Those that are left would serve a part of the clients: a service manager starts all of it again. A process that takes
    // over has the same socket.
    if (this.isInCharge && this.successor === undefined) this.parts.endpoints.release();
    await this.end(1);
  }

  private async end(status: number): Promise<void> {
    clearInterval(this.look);
    this.watchdog?.close();
    this.watch.close();
    const { endpoints } = this.parts;
    if (this.successor !== undefined) this.relay.close();
    else await this.relay.part();
    if (this.successor === undefined) endpoints.release();
    await endpoints.close();
    const haveEnded = await this.workers.terminate();
    this.accessLog.close();
    if (!haveEnded) {
      this.log.fatal({ event: "worker.stuck" }, "a worker is stuck, and cannot be ended: this process ends by SIGKILL");
      // Node waits for its threads whichever way it exits. After `ended`, so that what follows it is done.
      setTimeout(() => process.kill(process.pid, "SIGKILL"), LAST_STEPS);
    }
    await new Promise<void>((resolve) => this.log.flush(() => resolve()));
    this.heir?.release();
    this.heir = undefined;
    this.finish(status);
  }
}
