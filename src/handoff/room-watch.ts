/** Waits until a channel takes messages again: its queue was full (EAGAIN). */
import { native, type Watch } from "../native/addon.js";

const WRITABLE = 2;

export class RoomWatch {
  private readonly channel: number;
  private readonly onRoom: () => void;
  /** Over a descriptor of its own: libuv allows one watch for each. */
  private watch: { readonly watch: Watch; readonly descriptor: number } | undefined;

  /** Calls `onRoom` once after each `start`. The channel stays the caller's, who calls `stop` before closing it. */
  constructor(channel: number, onRoom: () => void) {
    this.channel = channel;
    this.onRoom = onRoom;
  }

  get isWaiting(): boolean {
    return this.watch !== undefined;
  }

  /** Returns false if it cannot wait (no descriptor is left): try again by time. */
  start(): boolean {
    if (this.watch !== undefined) return true;
    let descriptor: number;
    try {
      descriptor = native.duplicate(this.channel);
    } catch {
      return false;
    }
    const watch = native.watch(descriptor, () => {
      this.stop();
      this.onRoom();
    });
    watch.own();
    watch.select(WRITABLE);
    // The channel's own watch keeps the process alive, where it should be.
    watch.unref();
    this.watch = { watch, descriptor };
    return true;
  }

  stop(): void {
    if (this.watch === undefined) return;
    this.watch.watch.close();
    native.close(this.watch.descriptor);
    this.watch = undefined;
  }
}
