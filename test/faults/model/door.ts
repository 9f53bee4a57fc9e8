/**
 * A door that is killed, stopped, replaced and started again, while its listening socket is kept by another process, as
 * the service manager does.
 */
import { fileURLToPath } from "node:url";
import { askStatus, askTo } from "../../../src/daemon/control/client.js";
import type { Answer } from "../../../src/daemon/control/controlled.js";
import type { Status } from "../../../src/daemon/status.js";
import { Child } from "../../support/child.js";
import type { LogLine } from "../../support/door-process.js";
import { childrenOf, isAlive, isStopped, kill } from "../../support/process-status.js";
import { until } from "../../support/wait.js";
import { type Deaths, killing } from "./history.js";
import { now } from "./time.js";

const program = fileURLToPath(new URL("../../../dist/cli/main.js", import.meta.url));

/** Longer than what has to happen ever takes. Milliseconds. */
export const PATIENCE = 100_000;

export interface DoorStart {
  readonly file: string;
  readonly control: string;
  /** The listening socket, which stays the caller's. */
  readonly listener: number;
  readonly environment?: Readonly<Record<string, string>>;
  /** What its log goes to, in place of a pipe that is read. */
  readonly log?: number;
}

/** A line of the access log. */
export interface AccessLine {
  readonly client: string;
  readonly backend?: string;
  readonly instance_pid?: number;
  readonly outcome: string;
  readonly reason?: string;
}

export class Door {
  private readonly start: DoorStart;
  private readonly deaths: Deaths;
  private child!: Child;
  /** Whose end would be nobody's wish. */
  private inCharge = 0;
  /** The last upgrade that was asked for: over when it is known who is in charge. */
  private upgrading: Promise<unknown> = Promise.resolve();
  private readonly access: Map<string, AccessLine[]> = new Map();
  /** Lines of the log that tell of something wrong. */
  readonly complaints: LogLine[] = [];
  /** When the last line came. */
  heardAt = 0;

  /** `deaths` gets those of its processes. */
  constructor(start: DoorStart, deaths: Deaths) {
    this.start = start;
    this.deaths = deaths;
  }

  /** The process that is in charge. */
  get pid(): number {
    return this.inCharge;
  }

  get running(): boolean {
    return isAlive(this.inCharge);
  }

  get stderr(): string {
    return this.child.stderr;
  }

  /** Starts a process on the listening socket, which has more in its environment than others. Resolves when it serves. */
  async run(more: Readonly<Record<string, string>> = {}): Promise<void> {
    const { file, control, listener, environment, log } = this.start;
    this.read();
    // LISTEN_PID is the process's own number: sd_listen_fds(3).
    const command = ["-c", 'LISTEN_PID=$$ exec "$@"', "sh", process.execPath, program, "serve", "--config", file];
    const child = new Child("/bin/sh", command, {
      stdio: ["ignore", log ?? "pipe", "pipe", listener],
      env: { ...process.env, ...environment, ...more, LISTEN_FDS: "1" },
    });
    this.child = child;
    await until(
      "the door to serve",
      async () => {
        if (!child.running) throw new Error(`the door ended at its start: ${child.lines.slice(-3)} ${child.stderr}`);
        const { pid } = await askStatus(control).catch(() => ({ pid: 0 }));
        return pid === child.pid;
      },
      PATIENCE,
    );
    this.inCharge = child.pid;
  }

  status(): Promise<Status> {
    return askStatus(this.start.control);
  }

  reload(): Promise<Answer> {
    return askTo(this.start.control, "POST", "/reload", { timeout: PATIENCE });
  }

  /** After a success another process is in charge. */
  upgrade(): Promise<Answer> {
    const answer = this.askToUpgrade();
    this.upgrading = answer.catch(() => {});
    return answer;
  }

  private async askToUpgrade(): Promise<Answer> {
    const before = this.inCharge;
    const answer = await askTo(this.start.control, "POST", "/upgrade", { timeout: PATIENCE });
    const successor = /^process (\d+) has taken over/.exec(answer.message)?.[1];
    if (!answer.ok || successor === undefined) return answer;
    this.inCharge = Number(successor);
    await until("the end of the process before", () => !isAlive(before), PATIENCE);
    return answer;
  }

  /** The process that is in charge: if that one has ended by itself, who took over from it when its answer has come. */
  async current(): Promise<number> {
    if (!isAlive(this.inCharge)) await this.upgrading;
    return this.inCharge;
  }

  /** An upgrade has begun: the process that is to take over. Undefined if it has failed before that was seen. */
  async successor(upgrade: Promise<unknown>): Promise<number | undefined> {
    let isOver = false;
    upgrade.then(
      () => {
        isOver = true;
      },
      () => {
        isOver = true;
      },
    );
    const before = this.inCharge;
    return until(
      "the new process",
      async () => {
        const [pid] = childrenOf(before);
        if (pid !== undefined) return { pid };
        if (!isOver) return undefined;
        // It serves by now, or has ended.
        const serving = await askStatus(this.start.control, { timeout: PATIENCE }).catch(() => ({ pid: before }));
        return { pid: serving.pid === before ? undefined : serving.pid };
      },
      PATIENCE,
    ).then(({ pid }) => pid);
  }

  /** SIGKILL to the one in charge: the process that was about to take over from it, if there is one. */
  async killAndSeek(): Promise<number | undefined> {
    const before = await this.current();
    // Seen while it stands still: none is started after that.
    kill(before, "SIGSTOP");
    await until("the door to stand still", () => isStopped(before) || !isAlive(before), PATIENCE);
    if ((await this.current()) !== before) return this.killAndSeek();
    if (!isAlive(before)) throw new Error(`the door ended by itself: ${this.stderr}`);
    const [successor] = childrenOf(before);
    await this.kill(before);
    return successor;
  }

  /** Whether that process, whose predecessor is gone, serves: resolves when it does, or has ended. */
  async isSucceededBy(pid: number): Promise<boolean> {
    const serves = async () => (await this.status().catch(() => ({ pid: 0 }))).pid === pid;
    await until("the new process to serve, or to end", async () => !isAlive(pid) || (await serves()), PATIENCE);
    if (!isAlive(pid)) return false;
    this.inCharge = pid;
    return true;
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.inCharge, signal);
  }

  /** SIGKILL, to the one in charge or to another one of an upgrade. */
  async kill(pid = this.inCharge): Promise<void> {
    if (!isAlive(pid)) return;
    await killing(this.deaths, pid, () => {
      kill(pid);
      return until("the end of a process that was killed", () => !isAlive(pid), PATIENCE);
    });
  }

  /** SIGTERM: finishes what waits. Throws if it does not end in order. */
  async stop(): Promise<void> {
    const { child } = this;
    const inCharge = await this.current();
    const successors = childrenOf(inCharge);
    kill(inCharge, "SIGTERM");
    const isOver = () => !isAlive(inCharge) && (inCharge !== child.pid || !child.running);
    await until("the door's end", isOver, PATIENCE);
    if (inCharge === child.pid && child.process.exitCode !== 0) {
      throw new Error(`the door ended with ${child.process.exitCode ?? child.process.signalCode}: ${child.stderr}`);
    }
    // Whom it handed over to was told as well, if it could be: what comes to both is one signal.
    if ((await this.current()) !== inCharge) return this.stop();
    await until("its successor's end", () => !successors.some(isAlive), PATIENCE);
  }

  /** Takes in the lines that have come. */
  read(): void {
    if (this.child === undefined) return;
    const { lines } = this.child;
    if (lines.length > 0) this.heardAt = now();
    for (const text of lines) {
      const line = parsed(text);
      if (line?.event === "access") this.takeAccess(line as unknown as AccessLine);
      else if (line?.level === "error" || line?.level === "fatal") this.complaints.push(line);
    }
    lines.length = 0;
  }

  /** What its processes said of a client's connections. */
  said(client: string): readonly AccessLine[] {
    return this.access.get(client) ?? [];
  }

  forget(client: string): void {
    this.access.delete(client);
  }

  private takeAccess(line: AccessLine): void {
    const lines = this.access.get(line.client);
    if (lines === undefined) this.access.set(line.client, [line]);
    else lines.push(line);
  }
}

/** A process that is killed may leave a part of a line. */
function parsed(text: string): LogLine | undefined {
  try {
    return JSON.parse(text) as LogLine;
  } catch {
    return undefined;
  }
}
