/**
 * Where the log's lines go: a descriptor that may be a pipe nobody reads, journald's socket, or a file on a full disk.
 *
 * sonic-boom, pino's own, is not used. Synchronous, it sleeps in a loop while a pipe is full (EAGAIN) and keeps every
 * line while a disk is (ENOSPC); a blocking pipe stops it inside write(2). Asynchronous, it leaves such a write in
 * libuv's thread pool, which the process then waits for at its end, and loses its last lines in a crash. Here writing
 * never blocks and never throws: what cannot be written now waits in memory, up to a limit, and beyond it lines are
 * dropped and counted.
 */
import { constants, fstatSync, openSync, writeSync } from "node:fs";
import { isatty } from "node:tty";
import { native } from "../native/addon.js";

/** Most characters that wait for the descriptor. */
const ROOM = 1 << 20;
/** When a descriptor that took nothing is tried again: the first delay is doubled up to the second. Milliseconds. */
const RETRY_FIRST = 5;
const RETRY_LAST = 200;
/** How long `flush` waits for a reader. Milliseconds. */
const FLUSH_TIMEOUT = 1000;

export interface LineSinkOptions {
  /** Most characters that wait. */
  readonly room?: number;
  /** What a line becomes before it is written. */
  readonly format?: (line: string) => string;
  /** Told how many lines were dropped, when there is room again. */
  readonly dropped?: (lines: number) => void;
  /** write(2): how many bytes were taken; throws. */
  readonly write?: (bytes: Uint8Array) => number;
}

export class LineSink {
  private readonly room: number;
  private readonly format: (line: string) => string;
  private readonly tell: (lines: number) => void;
  private readonly output: (bytes: Uint8Array) => number;
  /** What a write has left of lines that it began. */
  private rest: Uint8Array = new Uint8Array();
  /** Whole lines behind `rest`. */
  private waiting: string = "";
  private corked: boolean = false;
  private retry: NodeJS.Timeout | undefined;
  private delay: number = RETRY_FIRST;
  private untold: number = 0;
  private readonly drainedListeners: Set<() => void> = new Set();
  /** Lines dropped so far. */
  dropped: number = 0;

  /** `fd` stays the caller's; it is opened anew, or made non-blocking, if writing to it could block. */
  constructor(fd: number, { room = ROOM, format = (line) => line, dropped = () => {}, write }: LineSinkOptions = {}) {
    this.room = room;
    this.format = format;
    this.tell = dropped;
    this.output = write ?? writeWithoutBlocking(fd);
  }

  /** Something waits for the descriptor. */
  get congested(): boolean {
    return this.retry !== undefined;
  }

  /** `line` with its newline. */
  write(line: string): void {
    const text = this.format(line);
    if (this.rest.length + this.waiting.length + text.length > this.room) {
      this.dropped++;
      this.untold++;
      return;
    }
    this.waiting += text;
    if (!this.corked && !this.congested) this.push();
  }

  /** Lines are collected from now on, for one write. */
  cork(): void {
    this.corked = true;
  }

  uncork(): void {
    this.corked = false;
    if (!this.congested) this.push();
  }

  /** Calls back once, when nothing waits any more. */
  onceDrained(callback: () => void): void {
    this.drainedListeners.add(callback);
  }

  /** Calls back when everything is written, or cannot be within a second. pino's `log.flush(callback)`. */
  flush(callback: () => void): void {
    this.push();
    if (!this.congested) return callback();
    const done = () => {
      clearTimeout(timeout);
      this.drainedListeners.delete(done);
      callback();
    };
    const timeout = setTimeout(done, FLUSH_TIMEOUT);
    this.onceDrained(done);
  }

  /** Writes what the descriptor takes. Each failure is tried again: a disk may have room later, a FIFO a new reader. */
  private push(): void {
    try {
      while (this.rest.length > 0 || this.waiting !== "") {
        if (this.rest.length === 0) {
          this.rest = Buffer.from(this.waiting);
          this.waiting = "";
        }
        const taken = this.output(this.rest);
        if (taken === 0) return this.later();
        this.rest = this.rest.subarray(taken);
        this.delay = RETRY_FIRST;
      }
    } catch {
      return this.later();
    }
    clearTimeout(this.retry);
    this.retry = undefined;
    this.drained();
  }

  private later(): void {
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.push(), this.delay);
    this.retry.unref();
    this.delay = Math.min(RETRY_LAST, this.delay * 2);
  }

  private drained(): void {
    const lines = this.untold;
    this.untold = 0;
    if (lines > 0) this.tell(lines);
    const listeners = [...this.drainedListeners];
    this.drainedListeners.clear();
    for (const listener of listeners) listener();
  }
}

/**
 * write(2) that never blocks. A FIFO or terminal is opened anew, so that O_NONBLOCK is this process's alone: others may
 * share the open file description (fcntl(2)). A socket cannot be opened (proc(5)): there the flag is set before each
 * write, since Node puts it back when it exits, and the process before an upgrade shares journald's socket with the one
 * after it. Files do not block for good.
 */
function writeWithoutBlocking(fd: number): (bytes: Uint8Array) => number {
  const stat = fstatSync(fd);
  const terminal = isatty(fd);
  if (stat.isFIFO() || terminal) {
    try {
      const own = openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
      return (bytes) => writeSync(own, bytes);
    } catch {
      // Another user's, or nobody reads it at present (ENXIO).
    }
  }
  if (!stat.isFIFO() && !terminal && !stat.isSocket()) return (bytes) => writeSync(fd, bytes);
  return (bytes) => {
    native.setNonBlocking(fd, true);
    return writeSync(fd, bytes);
  };
}
