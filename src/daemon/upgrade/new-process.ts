/**
 * The process that an upgrade starts: this program anew, with what it inherits, what it says on standard error, and an IPC
 * channel as Node gives it to a child: lines of JSON over a pair of sockets, the child's end of which the environment names.
 *
 * Both pairs are made here. Where the process has no descriptor left (EMFILE, ENFILE), Node's own `spawn` leaves its ends
 * of the pairs that it has made open for ever: each upgrade that fails so would take two more.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { EventEmitter } from "node:events";
import { Socket } from "node:net";
import { StringDecoder } from "node:string_decoder";
import { native } from "../../native/addon.js";
import type { FollowerMessage, LeaderMessage } from "./messages.js";

/** How much of what the new process says on standard error is kept, to tell why it failed. Bytes. */
const KEPT_OUTPUT = 4096;
/** How long the end of all that it says is waited for when it has ended: one that it has started may say more. Milliseconds. */
const LAST_WORDS = 1000;
/** stdio 0 to 2 are the standard ones; what the door passes on begins at FIRST. */
const IPC = 3;
export const FIRST = 4;

export interface NewProcessEnd {
  /** "ended with status 1". */
  readonly how: string;
  /** With status 0: it was told to. */
  readonly isOrderly: boolean;
}

export interface NewProcessEvents {
  message: [FollowerMessage];
}

export class NewProcess extends EventEmitter<NewProcessEvents> {
  /** Resolves when it has ended, or could not be started. */
  readonly ended: Promise<NewProcessEnd>;
  private readonly child: ChildProcess;
  private readonly standardError: Socket;
  private readonly channel: Socket;
  private text: string = "";

  /** `inherited` are its descriptors from FIRST on; they stay the caller's. Throws a SystemCallError. */
  constructor(environment: NodeJS.ProcessEnv, inherited: readonly number[]) {
    super();
    const ours: number[] = [];
    const theirs: number[] = [];
    try {
      for (let pairs = 0; pairs < 2; pairs++) {
        const [mine, other] = native.socketPair("stream");
        ours.push(mine);
        theirs.push(other);
      }
      this.child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
        env: { ...environment, NODE_CHANNEL_FD: `${IPC}`, NODE_CHANNEL_SERIALIZATION_MODE: "json" },
        stdio: ["inherit", "inherit", ...theirs, ...inherited],
        detached: false,
      });
    } catch (error) {
      for (const descriptor of ours) native.close(descriptor);
      throw error;
    } finally {
      for (const descriptor of theirs) native.close(descriptor);
    }
    this.standardError = new Socket({ fd: ours[0]!, readable: true });
    this.channel = new Socket({ fd: ours[1]!, readable: true, writable: true });
    this.ended = this.hearEnd();
    this.hear();
  }

  /** Undefined if it could not be started. */
  get pid(): number | undefined {
    return this.child.pid;
  }

  /** The last that it said on standard error. */
  get said(): string {
    return this.text.trim();
  }

  /** Returns whether it could be sent; whether that arrives is not known. */
  send(message: LeaderMessage): boolean {
    if (!this.channel.writable) return false;
    this.channel.write(`${JSON.stringify(message)}\n`);
    return true;
  }

  kill(signal: NodeJS.Signals): boolean {
    return this.child.kill(signal);
  }

  /** Lets this process end, and the new one live on. */
  release(): void {
    this.channel.destroy();
    this.standardError.destroy();
    this.child.unref();
  }

  private hear(): void {
    this.standardError.on("data", (data: Buffer) => {
      process.stderr.write(data);
      this.text = (this.text + data.toString("utf8")).slice(-KEPT_OUTPUT);
    });
    // Not node:readline, which tells of the error of a socket again, as an event of its own.
    const decoder = new StringDecoder("utf8");
    let rest = "";
    this.channel.on("data", (data: Buffer) => {
      const lines = decoder.write(data).split("\n");
      lines[0] = rest + lines[0];
      rest = lines.pop()!;
      for (const message of lines.map(parsed)) if (message !== undefined) this.emit("message", message);
    });
    // EPIPE, ECONNRESET: it has ended, which is told otherwise.
    for (const socket of [this.standardError, this.channel]) socket.on("error", () => {});
  }

  private hearEnd(): Promise<NewProcessEnd> {
    const { child, standardError, channel } = this;
    const sockets = [standardError, channel];
    const isSilent = Promise.all(sockets.map((each) => new Promise((resolve) => each.once("close", resolve))));
    return new Promise((resolve) => {
      // The first is what counts; one without a listener would end this process.
      child.on("error", (error) => resolve({ how: `could not be started: ${error.message}`, isOrderly: false }));
      child.once("exit", (status, signal) => {
        const timer = setTimeout(() => {
          for (const each of sockets) each.destroy();
        }, LAST_WORDS);
        void isSilent.then(() => {
          clearTimeout(timer);
          resolve({ how: `ended with ${signal ?? `status ${status}`}`, isOrderly: status === 0 });
        });
      });
    });
  }
}

/** Undefined: not a door's. */
function parsed(line: string): FollowerMessage | undefined {
  try {
    const message = JSON.parse(line) as FollowerMessage | null;
    return typeof message?.type === "string" ? message : undefined;
  } catch {
    return undefined;
  }
}
