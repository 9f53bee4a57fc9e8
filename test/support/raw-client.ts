/** A TCP client that sends bytes in the pieces it is told to. */
import { connect, type Socket } from "node:net";

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
