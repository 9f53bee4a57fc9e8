/** A TCP client that sends bytes in the pieces it is told to. */
import { connect, type Socket } from "node:net";
import { getSystemErrorName } from "node:util";
import { native } from "../../src/native/addon.js";

/** Connects and sends each piece in a segment of its own; `pause` is awaited between them. Resolves to what came back. */
export async function exchange(
  port: number,
  pieces: Iterable<Uint8Array>,
  pause: () => Promise<void> = immediate,
): Promise<Buffer> {
  const socket = await connected(port);
  const received: Buffer[] = [];
  socket.on("data", (data) => received.push(data));
  const ended = new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.once("close", () => resolve());
  });
  ended.catch(() => {});
  let first = true;
  for (const piece of pieces) {
    if (!first) await pause();
    first = false;
    if (socket.destroyed) break;
    await new Promise<void>((resolve) => socket.write(piece, () => resolve()));
  }
  await ended;
  return Buffer.concat(received);
}

export function connected(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.off("error", reject);
      resolve(socket);
    });
  });
}

export function immediate(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * What a socket's "end" was. Bytes that a reset is seen with are followed by an end in order for libuv (uv__stream_io
 * reads no more where poll said POLLHUP): the socket still has the error then.
 */
export function endOf(socket: Socket): string {
  const { fd = -1 } = (socket as unknown as { _handle: { fd?: number } | null })._handle ?? {};
  const errno = fd < 0 ? 0 : native.pendingError(fd);
  return errno === 0 ? "FIN" : getSystemErrorName(-errno);
}

/** How the door ended a connection, and what it had said. */
export interface Reply {
  readonly received: Buffer;
  /** "FIN", or the error: "ECONNRESET". */
  readonly end: string;
}

/** A client that does not close its side when the other does. */
export class RawClient {
  readonly socket: Socket;
  readonly reply: Promise<Reply>;

  private constructor(socket: Socket) {
    this.socket = socket;
    const received: Buffer[] = [];
    socket.on("data", (data) => received.push(data));
    this.reply = new Promise((resolve) => {
      const ended = (end: string) => resolve({ received: Buffer.concat(received), end });
      socket.once("end", () => ended(endOf(socket)));
      socket.on("error", (error: NodeJS.ErrnoException) => ended(error.code ?? error.message));
    });
  }

  /** Connects, from another address of the loopback if one is given, and to another one. */
  static async connect(port: number, localAddress = "127.0.0.1", host = "127.0.0.1"): Promise<RawClient> {
    const socket = connect({ port, host, localAddress, noDelay: true, allowHalfOpen: true });
    const client = new RawClient(socket);
    await Promise.race([
      new Promise((resolve) => socket.once("connect", resolve)),
      client.reply.then(({ end }) => Promise.reject(new Error(`cannot connect: ${end}`))),
    ]);
    return client;
  }

  send(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  /** Closes its side; the other may still be read. */
  finish(): void {
    this.socket.end();
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }

  close(): void {
    this.socket.destroy();
  }
}

/** Connects, sends, and waits for the other side's end. */
export async function speak(port: number, bytes: Uint8Array): Promise<Reply> {
  const client = await RawClient.connect(port);
  client.send(bytes);
  const reply = await client.reply;
  client.close();
  return reply;
}

/** Runs tasks with at most `limit` at once. */
export async function inParallel<T>(
  tasks: readonly T[],
  limit: number,
  run: (task: T) => Promise<void>,
): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: limit }, async () => {
      while (next < tasks.length) await run(tasks[next++]!);
    }),
  );
}
