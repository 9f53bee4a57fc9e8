/**
 * The door's side of its relay: looks whether one is there, starts one if none is, tells it of reloads. The relay is no
 * child to be ended with the door: it has a session of its own, goes on when the door ends, and is found again by the
 * control socket in its folder, whoever started it.
 */
import { spawn } from "node:child_process";
import type { LogLevel } from "../../door/settings.js";
import { withoutPassedDescriptors } from "../../handoff/activation.js";
import type { Configuration } from "../configuration/index.js";
import { relayControl } from "../configuration/relay.js";
import { askTo } from "../control/client.js";
import type { Log } from "../log.js";
import { makeRelayFolder } from "./folders.js";

/** Milliseconds; the second while one starts. */
const LOOK_EVERY = 1000;
const LOOK_SOON = 100;
const PATIENCE = 5000;
/** One that was started and does not answer for so long is said to hang. */
const START_PATIENCE = 30_000;
/** After one that has ended by itself, doubled each time; one that lived longer than the last of them begins anew. */
const FIRST_RETRY = 1000;
const LAST_RETRY = 30_000;

export interface KeptRelay {
  /** off: no backend needs one. elsewhere: what is in the folder reads another configuration. */
  readonly state: "off" | "starting" | "running" | "absent" | "unreachable" | "elsewhere";
  readonly control: string;
  /** Whether this door starts one. */
  readonly starts: boolean;
  /** Why it is not running; "" if it is. */
  readonly reason: string;
}

type Settings = Pick<Configuration, "file" | "relay">;

export class RelayKeeper {
  private settings: Settings;
  private readonly log: Log;
  /** Given on the command line: the relay gets it, too. */
  private readonly logLevel: LogLevel | undefined;
  private readonly found: () => void;
  private timer: NodeJS.Timeout | undefined;
  private soon: NodeJS.Timeout | undefined;
  private state: KeptRelay["state"] = "off";
  private reason: string = "";
  private isLooking: boolean = false;
  private isClosed: boolean = false;
  /** Of the one that this door started last. */
  private startedAt: number = 0;
  private isStarting: boolean = false;
  private startAfter: number = 0;
  private retry: number = FIRST_RETRY;

  /** `found` is called when there is a relay that was not there before. */
  constructor(settings: Settings, log: Log, logLevel: LogLevel | undefined, found: () => void) {
    this.found = found;
    this.settings = settings;
    this.log = log;
    this.logLevel = logLevel;
  }

  /** From now on. Doesn't keep the process alive. */
  start(): void {
    this.isClosed = false;
    this.timer ??= setInterval(() => void this.look(), LOOK_EVERY).unref();
    void this.look();
  }

  get kept(): KeptRelay {
    const { settings, state, reason } = this;
    return { state, control: relayControl(settings.relay), starts: settings.relay.start, reason };
  }

  /**
   * Another configuration is in force in the door: the relay is to read it, too, or one is started. Resolves to what is
   * to be said about that.
   */
  async use(settings: Settings): Promise<string[]> {
    this.settings = settings;
    if (this.timer === undefined) return [];
    await this.look();
    if (this.state !== "running") return this.state === "off" || this.state === "starting" ? [] : [this.reason];
    try {
      const { message, details = [] } = await askTo(relayControl(settings.relay), "POST", "/reload");
      return [message, ...details];
    } catch (error) {
      return [`the relay was not told: ${(error as Error).message}`];
    }
  }

  /** The relay is looked after no more; it goes on. */
  close(): void {
    this.isClosed = true;
    clearInterval(this.timer);
    clearTimeout(this.soon);
    this.timer = undefined;
  }

  /** This door ends for good: a relay that was there for it need not wait whether it comes back. */
  async part(): Promise<void> {
    this.close();
    if (this.state !== "running") return;
    await askTo(relayControl(this.settings.relay), "POST", "/part", { timeout: LOOK_EVERY }).catch(() => {});
  }

  private async look(): Promise<void> {
    if (this.isClosed) return;
    if (this.settings.relay.backends.length === 0) return this.is("off", "");
    if (this.isLooking) return;
    this.isLooking = true;
    try {
      await this.lookOnce();
    } finally {
      this.isLooking = false;
    }
  }

  private async lookOnce(): Promise<void> {
    const { file, relay } = this.settings;
    try {
      const { ok, message } = await askTo(relayControl(relay), "POST", "/meet", { timeout: PATIENCE });
      this.isStarting = false;
      if (!ok) return; // it drains: its path is free in a moment
      if (message === file) {
        const isNew = this.state !== "running";
        this.is("running", "");
        if (isNew) this.found();
        return;
      }
      this.is("elsewhere", `the relay in ${relay.folder} reads ${message}: give each door its own relay.folder`);
    } catch (error) {
      if (this.isClosed) return;
      const { code } = ((error as Error).cause ?? {}) as { code?: string };
      if (code === "ENOENT" || code === "ECONNREFUSED" || code === "ENOTDIR") this.missed();
      else this.is("unreachable", `the relay in ${relay.folder} cannot be asked: ${(error as Error).message}`);
    }
  }

  private missed(): void {
    const { relay } = this.settings;
    if (this.isStarting) {
      if (performance.now() - this.startedAt < START_PATIENCE) return this.lookSoon();
      const seconds = START_PATIENCE / 1000;
      return this.is("unreachable", `the relay that was started has not opened ${relayControl(relay)} in ${seconds} s`);
    }
    if (performance.now() < this.startAfter) return;
    if (relay.start) this.startRelay();
    else this.is("absent", `no relay runs in ${relay.folder}: start one (sni-handoff relay)`);
  }

  private lookSoon(): void {
    clearTimeout(this.soon);
    this.soon = setTimeout(() => void this.look(), LOOK_SOON).unref();
  }

  private is(state: KeptRelay["state"], reason: string): void {
    if (reason !== "" && reason !== this.reason) this.log.warn({ event: `relay.${state}` }, reason);
    this.state = state;
    this.reason = reason;
  }

  private startRelay(): void {
    this.is("starting", "");
    this.isStarting = true;
    this.startedAt = performance.now();
    const level = this.logLevel === undefined ? [] : ["--log-level", this.logLevel];
    const args = ["relay", "--config", this.settings.file, "--while-needed", ...level];
    const child = spawn(process.execPath, [...process.execArgv, process.argv[1]!, ...args], {
      env: withoutPassedDescriptors(process.env),
      stdio: ["ignore", "inherit", "inherit"],
      detached: true,
    });
    child.unref();
    this.lookSoon();
    child.once("spawn", () => this.log.info({ event: "relay.started", pid: child.pid }, `relay ${child.pid} started`));
    child.once("error", (error) => this.ended(`could not be started: ${error.message}`, false));
    child.once("exit", (status, signal) =>
      this.ended(`${child.pid} ended with ${signal ?? `status ${status}`}`, status === 0),
    );
  }

  private ended(how: string, isOrderly: boolean): void {
    this.isStarting = false;
    if (this.isClosed) return;
    const now = performance.now();
    if (now - this.startedAt > LAST_RETRY) this.retry = FIRST_RETRY;
    this.startAfter = now + this.retry;
    if (isOrderly) this.log.info({ event: "relay.ended" }, `relay ${how}`);
    else this.is("absent", `relay ${how}; the next one is started in ${this.retry / 1000} s`);
    this.retry = isOrderly ? FIRST_RETRY : Math.min(LAST_RETRY, this.retry * 2);
  }
}

/** For the relay that this door is going to start, while its process may still make folders. Throws ERR_PATH_UNUSABLE. */
export function makeFolderForRelay({ relay, identity }: Pick<Configuration, "relay" | "identity">): void {
  if (relay.backends.length > 0 && relay.start) makeRelayFolder(relay.folder, identity);
}
