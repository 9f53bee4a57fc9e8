/**
 * The control plane of the relay's process: what is in force, and how it changes. One change at a time; each either
 * happens whole, or leaves everything as it was and says why.
 */
import { ConfigurationError, formatProblem } from "../../errors.js";
import { readRelayGauges } from "../../relay/gauges.js";
import type { RelayLogLevel, RelaySettings } from "../../relay/settings.js";
import { loadRelay, type RelayFile } from "../configuration/load-relay.js";
import { relayControl } from "../configuration/relay.js";
import { askTo } from "../control/client.js";
import type { Answer, ControlledRelay } from "../control/controlled.js";
import { counted } from "../counted.js";
import { Heartbeats } from "../heartbeats.js";
import type { DaemonLog } from "../log.js";
import type { Notifier } from "../systemd/notify.js";
import { Watchdog } from "../systemd/watchdog.js";
import { RelayControl } from "./control.js";
import { makeBackendFolders, makeRelayFolder, removeBackendFolders } from "./folders.js";
import { type KnownName, TargetNames } from "./names.js";
import { type ReportedRelay, relayStatus } from "./reporting.js";
import { hostsOf, relaySettings, usesOf } from "./settings.js";
import type { RelayStatus } from "./status.js";
import { RelayTotals } from "./totals.js";
import { RelayWorkers } from "./workers.js";

/** How long the answers for new names are waited for, before a configuration comes into force without. Milliseconds. */
const NAMES_PATIENCE = 500;
/** Counters are added up, and workers asked for a sign of life, as often. Milliseconds. */
const LOOK_EVERY = 1000;
/** `systemctl status` shows a line that is at most so old. Milliseconds. */
const STATUS_EVERY = 10_000;
/** A door looks after its relay once a second: one that has not for so long is gone. Milliseconds. */
const DOOR_GONE = 10_000;
/** One that said that it goes may have been the only one. Milliseconds. */
const DOOR_PARTED = 2000;
/** What is left to do when everything has ended but a worker that is stuck. Milliseconds. */
const LAST_STEPS = 250;

const levels: readonly RelayLogLevel[] = ["debug", "info", "warn", "error"];

export interface RelayParts {
  readonly configuration: RelayFile;
  readonly log: DaemonLog;
  readonly notifier: Notifier | undefined;
  /** What WATCHDOG_USEC said; undefined without a watchdog. Microseconds. */
  readonly watchdogPeriod: number | undefined;
  /** A door started it: it ends when no door is there and no connection is left, and leaves if there is one already. */
  readonly whileNeeded: boolean;
  /** Given on the command line: reloads leave it. */
  readonly logLevel: RelayLogLevel | undefined;
}

export class Relay implements ControlledRelay {
  private readonly parts: RelayParts;
  private readonly log: DaemonLog;
  private readonly folder: string;
  private readonly control: RelayControl;
  private readonly names: TargetNames;
  private configuration: RelayFile;
  private generation: number = 1;
  private settings!: RelaySettings;
  private workers!: RelayWorkers;
  private totals!: RelayTotals;
  private heartbeats!: Heartbeats;
  private watchdog: Watchdog | undefined;
  private look: NodeJS.Timeout | undefined;
  private statusSaidAt: number = 0;
  private state: RelayStatus["state"] = "running";
  private turn: Promise<unknown> = Promise.resolve();
  private lastReload: RelayStatus["configuration"]["lastReload"];
  private loadedAt: string = new Date().toISOString();
  /** When a door was here last. Milliseconds. */
  private metAt: number = performance.now();
  private finish!: (status: number) => void;
  /** Resolves to the exit status when this process is done. */
  readonly ended: Promise<number> = new Promise((resolve) => {
    this.finish = resolve;
  });

  private constructor(parts: RelayParts) {
    this.parts = parts;
    this.configuration = parts.configuration;
    this.log = parts.log;
    const { relay } = parts.configuration;
    this.folder = relay.folder;
    makeRelayFolder(this.folder);
    this.control = new RelayControl(relayControl(relay), !parts.whileNeeded);
    this.names = new TargetNames({ resolved: (host, known) => this.resolved(host, known) });
  }

  /**
   * Resolves when doors can find it. Throws ERR_PATH_IN_USE (only `whileNeeded`) if there is one already, or another
   * HandoffError; then nothing is left that runs.
   */
  static async start(parts: RelayParts): Promise<Relay> {
    const relay = new Relay(parts);
    try {
      await relay.startWorkers();
      await relay.announce();
    } catch (error) {
      relay.names.close();
      relay.control.release();
      await relay.workers?.terminate();
      throw error;
    }
    return relay;
  }

  private async startWorkers(): Promise<void> {
    const { relay } = this.configuration;
    this.settings = await this.prepare(this.configuration, this.generation);
    this.workers = await RelayWorkers.start(relay.workers, this.settings, {
      log: ({ level, event, message, fields }) => this.log[level]({ event, ...fields }, message),
      targetFailed: ({ backend, target }) => this.targetFailed(backend, target),
      died: (error) => void this.fail(error),
    });
    this.tellAll();
    this.totals = new RelayTotals(this.workers.memories);
    this.totals.use(this.settings, this.workers.targetMemories);
    this.heartbeats = new Heartbeats(this.workers, (gauges) => readRelayGauges(gauges).heartbeat);
    this.look = setInterval(() => this.lookOnce(), LOOK_EVERY);
    this.look.unref();
  }

  /** What a configuration needs before it can be in force. Throws ERR_PATH_UNUSABLE. */
  private async prepare({ relay }: RelayFile, generation: number): Promise<RelaySettings> {
    makeBackendFolders(
      this.folder,
      relay.backends.map(({ name }) => name),
    );
    this.names.configure(hostsOf(relay), relay.resolvers);
    await this.names.settled(NAMES_PATIENCE);
    return relaySettings(relay, generation, this.names);
  }

  /** The operators' sockets answer; another relay, which has been there before, is asked to go; who waits is told. */
  private async announce(): Promise<void> {
    const { notifier, watchdogPeriod, configuration } = this.parts;
    this.control.serve(this, this.log);
    if (this.control.isSecond) await this.succeed();
    this.serveSecondControl(configuration);
    notifier?.ready(this.systemStatus());
    if (notifier !== undefined && watchdogPeriod !== undefined) {
      this.watchdog = new Watchdog(watchdogPeriod, {
        ping: () => this.heartbeats.ping(),
        answered: () => this.heartbeats.repeated,
        feed: () => notifier.watchdog(),
      });
    }
  }

  /** The one before drains: what it has goes on there, what is new comes here. */
  private async succeed(): Promise<void> {
    let message: string;
    try {
      message = (await askTo(this.control.path, "POST", "/stop")).message;
    } catch (error) {
      message = (error as Error).message;
    }
    this.control.takePath();
    this.log.info({ event: "relay.succeeds" }, `takes the place of the relay in ${this.folder}: ${message}`);
  }

  private serveSecondControl({ relay }: RelayFile): void {
    try {
      this.control.serveAlso(relay.control, this, this.log);
    } catch (error) {
      this.log.error({ event: "control.failed" }, `relay.control: ${(error as Error).message}`);
    }
  }

  private lookOnce(): void {
    this.totals.look();
    // A watchdog asks by itself, and must not find a question that was asked this moment.
    if (this.watchdog === undefined) this.heartbeats.ping();
    const now = performance.now();
    if (this.parts.notifier !== undefined && now - this.statusSaidAt >= STATUS_EVERY && this.state === "running") {
      this.statusSaidAt = now;
      this.parts.notifier.status(this.systemStatus());
    }
    const isNeeded = !this.parts.whileNeeded || now - this.metAt < DOOR_GONE || this.connections > 0;
    if (!isNeeded) void this.stop("no door is there, and no connection is left");
  }

  private get connections(): number {
    return this.workers.memories.reduce((sum, { gauges }) => sum + readRelayGauges(gauges).connections, 0);
  }

  private systemStatus(): string {
    const { backends } = this.configuration.relay;
    const { received } = this.totals.counters;
    return `${this.state}: ${counted(backends.length, "backend")}, generation ${this.generation}; ${this.connections} connections, ${received} received`;
  }

  // --- names -------------------------------------------------------------------------------------------------------

  private resolved(host: string, { addresses, failure }: KnownName): void {
    const what = { event: failure === "" ? "name.resolved" : "name.failed", host, addresses: addresses.join(" ") };
    if (failure === "") this.log.info(what, `${host} is ${addresses.join(", ")}`);
    else this.log.warn(what, `${host}: ${failure}${addresses.length > 0 ? "; what it was before is used" : ""}`);
    if (this.workers !== undefined) this.tell(host);
  }

  private tell(host: string): void {
    const known = this.names.known(host);
    if (known === undefined) return;
    const { addresses, failure } = known;
    for (const { backend, target, port } of usesOf(this.configuration.relay, host)) {
      const places = addresses.map((address) => ({ address, port }));
      this.workers.command({ type: "addresses", backend, target, addresses: places, failure });
    }
  }

  /** A configuration is in force: of what was answered since its settings were made nobody was told. */
  private tellAll(): void {
    for (const host of hostsOf(this.configuration.relay)) this.tell(host);
  }

  private targetFailed(backend: string, target: string): void {
    const targets = this.configuration.relay.backends.find(({ name }) => name === backend)?.targets ?? [];
    for (const each of targets) if (each.kind === "name" && each.text === target) this.names.again(each.host);
  }

  // --- what is asked -----------------------------------------------------------------------------------------------

  status(): Promise<RelayStatus> {
    return relayStatus(() => this.reported);
  }

  async metrics(): Promise<{ contentType: string; text: string }> {
    const { renderRelayMetrics } = await import("./metrics.js");
    return renderRelayMetrics(await this.status());
  }

  private get reported(): ReportedRelay {
    const { configuration, generation, loadedAt, lastReload, state, folder, workers, totals, heartbeats, names } = this;
    const { whileNeeded } = this.parts;
    return {
      ...{ configuration, generation, loadedAt, lastReload, state, folder, whileNeeded },
      ...{ workers, totals, heartbeats, names },
    };
  }

  async meet(): Promise<Answer> {
    this.metAt = performance.now();
    return { ok: this.state !== "draining", message: this.configuration.file };
  }

  async part(): Promise<Answer> {
    this.metAt = Math.min(this.metAt, performance.now() - DOOR_GONE + DOOR_PARTED);
    return { ok: true, message: this.parts.whileNeeded ? "the relay goes on while it is needed" : "the relay goes on" };
  }

  async setLogLevel(level: string): Promise<Answer> {
    if (!(levels as readonly string[]).includes(level)) {
      return { ok: false, message: `there is no level "${level}"; there are ${levels.join(", ")}` };
    }
    this.log.level = level;
    return { ok: true, message: `lines below ${level} are not written, until the next reload or change` };
  }

  // --- reload ------------------------------------------------------------------------------------------------------

  /** Puts the configuration file as it is now into force, or says why not. */
  reload(): Promise<Answer> {
    const done = this.turn.then(() => this.reloadInTurn());
    this.turn = done.catch(() => {});
    return this.heartbeats.unlessStuck(done, () => ({
      ok: false,
      message: `${this.heartbeats.silence}: the reload goes on when it does; restart the relay if it stays so`,
    }));
  }

  private async reloadInTurn(): Promise<Answer> {
    if (this.state !== "running") return { ok: false, message: `not now: the relay is ${this.state}` };
    this.state = "reloading";
    this.parts.notifier?.reloading("reloading");
    const answer = await this.reloadOnce();
    this.lastReload = { at: new Date().toISOString(), ok: answer.ok, message: answer.message };
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

  private async reloadOnce(): Promise<Answer> {
    const before = this.configuration;
    try {
      const next = await loadRelay(before.file);
      const settings = await this.prepare(next, this.generation + 1);
      // Workers that have been told to drain must not listen again.
      if (!this.isReloading) throw new Error(`the relay is ${this.state}`);
      await this.workers.configure(settings);
      this.totals.look();
      this.totals.use(settings, this.workers.targetMemories);
      this.settings = settings;
      this.generation++;
      this.configuration = next;
      this.tellAll();
      this.loadedAt = new Date().toISOString();
      return this.reloaded(next, before);
    } catch (error) {
      this.names.configure(hostsOf(before.relay), before.relay.resolvers);
      const details =
        error instanceof ConfigurationError ? error.problems.map(formatProblem) : [(error as Error).message];
      const message = `generation ${this.generation} of the relay stays in force: the new configuration cannot be used`;
      this.log.error({ event: "relay.reload.failed", problems: details }, `${message}: ${details[0]}`);
      return { ok: false, message, details };
    }
  }

  private reloaded({ relay, log }: RelayFile, before: RelayFile): Answer {
    const names = relay.backends.map(({ name }) => name);
    const gone = before.relay.backends.filter(({ name }) => !names.includes(name));
    removeBackendFolders(
      this.folder,
      gone.map(({ name }) => name),
    );
    this.serveSecondControl(this.configuration);
    if (this.parts.logLevel === undefined) this.log.level = log.level;
    const details = [
      ...(relay.folder === this.folder ? [] : [`needs a restart of the relay: its folder is ${this.folder}`]),
      ...(relay.workers === this.workers.memories.length
        ? []
        : [`needs a restart of the relay: it has ${counted(this.workers.memories.length, "worker")}`]),
    ];
    const message = `generation ${this.generation} of the relay is in force: ${counted(names.length, "backend")}`;
    this.log.info({ event: "relay.reloaded", generation: this.generation, backends: names, details }, message);
    return { ok: true, message, details };
  }

  upgrade(): Promise<Answer> {
    const message = "start another relay with this configuration: it takes the place of this one, which drains";
    this.log.warn({ event: "order.refused", order: "upgrade" }, message);
    return Promise.resolve({ ok: false, message });
  }

  // --- the end -----------------------------------------------------------------------------------------------------

  async stop(reason = "asked on the control socket"): Promise<Answer> {
    const message = `relay process ${process.pid} takes no more, and ends when its connections have`;
    if (this.state === "draining") return { ok: true, message };
    this.state = "draining";
    this.parts.notifier?.stopping("finishing what is connected");
    const { connections } = this;
    this.log.info({ event: "relay.stopping", reason, connections }, `${reason}: takes no more`);
    this.control.release();
    void this.finishAll().catch((error: Error) => this.fail(error));
    return { ok: true, message };
  }

  private async finishAll(): Promise<void> {
    const reset = await this.workers.drain(this.configuration.relay.drain);
    await this.end(0, reset ?? this.connections);
  }

  /** At once: connections are reset. */
  async stopNow(): Promise<void> {
    await this.end(0, this.connections);
  }

  private async fail(error: Error): Promise<void> {
    this.log.fatal({ event: "worker.died", stack: error.stack }, `a worker died: ${error.message}`);
    this.control.release();
    await this.end(1, this.connections);
  }

  private async end(status: number, reset: number): Promise<void> {
    clearInterval(this.look);
    this.watchdog?.close();
    this.names.close();
    this.log.info({ event: "relay.stopped", reset, counters: this.totals.counters }, "stopped");
    await this.control.close();
    if (!(await this.workers.terminate())) {
      this.log.fatal({ event: "worker.stuck" }, "a worker is stuck, and cannot be ended: this process ends by SIGKILL");
      // Node waits for its threads whichever way it exits. After `ended`, so that what follows it is done.
      setTimeout(() => process.kill(process.pid, "SIGKILL"), LAST_STEPS);
    }
    await new Promise<void>((resolve) => this.log.flush(() => resolve()));
    this.finish(status);
  }
}
