/** Accepts channels on a listening socket, and rests when it cannot. */
import type { SystemCallError } from "../errors.js";
import { native, type Watch } from "../native/addon.js";

/**
 * How long the socket rests when accept fails, most likely for want of descriptors: ready, and not to be accepted from,
 * it would take a whole processor. Milliseconds.
 */
const REST = 1000;
/** Channels accepted in one turn of the event loop. */
const BATCH = 64;
const READABLE = 1;

export class ChannelListener {
  private readonly descriptor: number;
  private readonly onChannel: (descriptor: number) => void;
  private readonly onFailure: (error: SystemCallError) => void;
  private readonly watch: Watch;
  private restTimer: NodeJS.Timeout | undefined;
  private isReferenced: boolean = true;
  private isClosed: boolean = false;

  /** Takes the listening descriptor over. `onChannel` takes each accepted one over; it must not throw. */
  constructor(
    descriptor: number,
    onChannel: (descriptor: number) => void,
    onFailure: (error: SystemCallError) => void,
  ) {
    this.descriptor = descriptor;
    this.onChannel = onChannel;
    this.onFailure = onFailure;
    this.watch = native.watch(descriptor, () => this.accept());
    this.watch.own();
  }

  ref(): void {
    this.isReferenced = true;
    if (this.isClosed) return;
    this.watch.ref();
    this.restTimer?.ref();
  }

  unref(): void {
    this.isReferenced = false;
    if (this.isClosed) return;
    this.watch.unref();
    this.restTimer?.unref();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    clearTimeout(this.restTimer);
    this.watch.close();
    native.close(this.descriptor);
  }

  private accept(): void {
    for (let i = 0; i < BATCH && !this.isClosed; i++) {
      let channel: number;
      try {
        channel = native.acceptUnix(this.descriptor);
      } catch (error) {
        this.rest(error as SystemCallError);
        return;
      }
      if (channel < 0) return;
      this.onChannel(channel);
    }
  }

  private rest(error: SystemCallError): void {
    this.onFailure(error);
    this.watch.select(0);
    this.restTimer = setTimeout(() => this.watch.select(READABLE), REST);
    // A watch that waits for nothing keeps no process alive.
    if (!this.isReferenced) this.restTimer.unref();
  }
}
