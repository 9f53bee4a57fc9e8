/** A sender of datagrams, as sni-router's `pass` is one: reads what a client sent first, and sends it beside the descriptor. */
import { readSync } from "node:fs";
import { native } from "../../src/native/addon.js";
import { TcpListener } from "./tcp.js";
import { until } from "./wait.js";

export class DatagramSender {
  readonly listener: TcpListener = new TcpListener();
  private readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  get port(): number {
    return this.listener.port;
  }

  /** A datagram, from a socket of its own. Returns 0 or the errno; the descriptors stay the caller's. */
  send(bytes: Uint8Array, descriptors: readonly number[]): number {
    const socket = native.connectUnix(this.path, "dgram", {});
    try {
      return native.sendMessage(socket, bytes, descriptors);
    } finally {
      native.close(socket);
    }
  }

  /** Accepts the next connection, reads at most `length` bytes of it (0: none), and sends them with it. */
  async pass(length = 16_384): Promise<Buffer> {
    const descriptor = await this.listener.accept();
    try {
      const early = length === 0 ? Buffer.alloc(0) : await read(descriptor, length);
      const errno = this.send(early, [descriptor]);
      if (errno !== 0) throw new Error(`sending failed with errno ${errno}`);
      return early;
    } finally {
      native.close(descriptor);
    }
  }

  close(): void {
    this.listener.close();
  }
}

/** What has come first, at most `length` bytes. The client may be of this very process: nothing may block. */
function read(descriptor: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  native.setNonBlocking(descriptor, true);
  return until("the client's first bytes", () => {
    try {
      return bytes.subarray(0, readSync(descriptor, bytes));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      return undefined;
    }
  });
}
