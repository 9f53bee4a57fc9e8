/** Descriptors of a test: closed behind it, and counted. */
import { fstatSync, openSync, readdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect } from "vitest";
import { type Loop, type LoopSizes, native } from "../../src/native/addon.js";
import { openDescriptors } from "../support/descriptors.js";
import { until } from "../support/wait.js";

export const sizes: LoopSizes = { events: 8, peeks: 8, peekBytes: 64, sends: 8, sendBytes: 256, closes: 128 };

const owned = new Set<number>();
const loops: Loop[] = [];
const clients: Socket[] = [];
let before: string[] = [];

export function descriptorCount(): number {
  return readdirSync("/proc/self/fd").length;
}

export function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}

/** A descriptor that is no socket. */
export function file(): number {
  return own(openSync("/dev/null", "r+"));
}

/** Closed behind the test, unless `disown` was called. */
export function own(fd: number): number {
  owned.add(fd);
  return fd;
}

/** The test closes it by other means. */
export function disown(fd: number): number {
  owned.delete(fd);
  return fd;
}

export function closeOwned(fd: number): void {
  native.close(disown(fd));
}

export function pair(type: "seqpacket" | "dgram" = "seqpacket"): [number, number] {
  const [a, b] = native.socketPair(type);
  return [own(a), own(b)];
}

export function newLoop(over: Partial<LoopSizes> = {}): Loop {
  const loop = native.createLoop({ ...sizes, ...over });
  loops.push(loop);
  return loop;
}

export function listener(address = "127.0.0.1"): { fd: number; port: number } {
  const fd = own(native.listenTcp({ address, port: 0, backlog: 511 }));
  return { fd, port: native.localAddress(fd).port };
}

export function client(port: number, host = "127.0.0.1"): Socket {
  const socket = connect({ port, host, allowHalfOpen: true });
  socket.on("error", () => {});
  clients.push(socket);
  return socket;
}

/** A client, and the accepted end of its connection as a bare descriptor. */
export async function tcpPair(): Promise<{ client: Socket; fd: number }> {
  const { fd: listening, port } = listener();
  const socket = client(port);
  const loop = newLoop({ peeks: 1 });
  await until("a connection", () => loop.accept(listening, 1) === 1);
  closeOwned(listening);
  return { client: socket, fd: own(loop.peekDescriptors[0]!) };
}

/** Waits until this many bytes can be peeked from a descriptor. */
export async function arrived(fd: number, bytes: number): Promise<void> {
  const loop = newLoop({ peeks: 1, peekBytes: Math.max(bytes, 1) });
  await until(`${bytes} bytes`, () => {
    loop.peekDescriptors[0] = fd;
    loop.peek(1);
    return loop.peekLengths[0]! >= bytes;
  });
}

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "sni-handoff-native-"));
  folders.push(folder);
  return folder;
}
const folders: string[] = [];

/** Every test of the file ends with as many descriptors as it began with. */
export function countDescriptors(): void {
  beforeEach(() => {
    before = openDescriptors();
  });
  afterEach(async () => {
    for (const socket of clients.splice(0)) socket.destroy();
    for (const loop of loops.splice(0)) loop.destroy();
    for (const fd of owned) native.close(fd);
    owned.clear();
    for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
    await until("as many descriptors as before", () => openDescriptors().length <= before.length).catch(() => {
      expect(openDescriptors().sort()).toEqual(before.sort());
    });
  });
}

/** What `call` throws, reduced to what callers compare. */
export function thrown(call: () => unknown): { name: string; code: string; message: string } & Record<string, unknown> {
  try {
    call();
  } catch (error) {
    const { name, code, message, syscall, errno, subject } = error as Record<string, string>;
    return { name: name!, code: code!, message: message!, syscall, errno, subject };
  }
  throw new Error("nothing was thrown");
}
