/** When doors are told again what has changed at the instance: room, and the open count. */
import { type ReceiverChannel, Restless } from "./receiver-channel.js";
import type { Sink } from "./sink.js";

/**
 * The open count is reported at most 4 times a second, and looked at less often while it stays the same: clients wait
 * in the door for it to fall, where a backend's connections are limited. Milliseconds.
 */
const COUNT_INTERVAL = 250;
const LONGEST_COUNT_INTERVAL = 500;
/** How soon a door that waits for READY learns that there is room. Milliseconds. */
const ROOM_INTERVAL = 20;

export class Reporter {
  private readonly channels: Iterable<ReceiverChannel>;
  private readonly sink: Sink;
  private readonly onSinkClosed: () => void;
  private timer: NodeJS.Timeout | undefined;
  private delay: number = 0;
  private countInterval: number = COUNT_INTERVAL;
  private lastCountAt: number = 0;
  private lastOpen: number = 0;
  private isStopped: boolean = false;

  constructor(channels: Iterable<ReceiverChannel>, sink: Sink, onSinkClosed: () => void) {
    this.channels = channels;
    this.sink = sink;
    this.onSinkClosed = onSinkClosed;
  }

  /** Something has changed, or may change soon. Nothing runs while nothing does. */
  wake(): void {
    this.schedule(COUNT_INTERVAL);
  }

  stop(): void {
    this.isStopped = true;
    clearTimeout(this.timer);
  }

  private schedule(delay: number): void {
    if (this.isStopped || (this.timer !== undefined && this.delay <= delay)) return;
    clearTimeout(this.timer);
    this.delay = delay;
    this.timer = setTimeout(() => this.report(), delay).unref();
  }

  private report(): void {
    this.timer = undefined;
    if (this.sink.closed()) this.onSinkClosed();
    const now = performance.now();
    const withCount = now - this.lastCountAt >= COUNT_INTERVAL - 1;
    if (withCount) this.adapt(now);
    let restless: Restless = Restless.NO;
    for (const channel of [...this.channels]) restless = Math.max(restless, channel.report(withCount)) as Restless;
    if (restless === Restless.SOON) this.schedule(ROOM_INTERVAL);
    else if (restless === Restless.LATER) this.schedule(this.countInterval);
  }

  private adapt(now: number): void {
    const open = this.sink.open();
    const isSteady = open === this.lastOpen;
    this.countInterval = isSteady ? Math.min(2 * this.countInterval, LONGEST_COUNT_INTERVAL) : COUNT_INTERVAL;
    this.lastCountAt = now;
    this.lastOpen = open;
  }
}
