/** Instances in the test's own process, which know each connection by the word that its client sends. */
import { randomBytes } from "node:crypto";
import { unlinkSync } from "node:fs";
import type { Socket } from "node:net";
import { receive } from "../../../src/backend/index.js";
import { encodeReady } from "../../../src/handoff/message.js";
import type { Receiver } from "../../../src/handoff/receiver.js";
import { native, type Watch } from "../../../src/native/addon.js";

/** What clients send behind their hello: their word, and this. */
export const END = " END\n";

/** How often each word came, to whomever. */
export class Served {
  private readonly counts: Map<string, number> = new Map();

  add(word: string): void {
    this.counts.set(word, this.of(word) + 1);
  }

  of(word: string): number {
    return this.counts.get(word) ?? 0;
  }
}

/** Answers each client with the name and its word, when it has all of it. */
export function answer(socket: Socket, name: string, served: Served): void {
  let text = "";
  socket.on("error", () => {});
  socket.on("data", (data) => {
    text += data.toString("latin1");
    if (!text.endsWith(END)) return;
    const word = /(\w+) END\n$/.exec(text)![1]!;
    served.add(word);
    socket.end(`${name} ${word}\n`);
  });
}

export function instance(path: string, name: string, served: Served, overloaded = () => false): Promise<Receiver> {
  return receive({ path, overloaded }, (socket: Socket) => answer(socket, name, served));
}

/** Says READY to each door, and reads nothing. */
export class StalledInstance {
  private readonly path: string;
  private readonly listener: number;
  private readonly watch: Watch;
  private readonly channels: number[] = [];

  /** In a folder. */
  constructor(folder: string) {
    this.path = `${folder}/stalled-${randomBytes(4).toString("hex")}.sock`;
    this.listener = native.listenUnix(this.path, "seqpacket", { backlog: 16 });
    this.watch = native.watch(this.listener, () => this.accept());
  }

  private accept(): void {
    const bytes = new Uint8Array(64);
    for (let fd = native.acceptUnix(this.listener); fd >= 0; fd = native.acceptUnix(this.listener)) {
      this.channels.push(fd);
      native.sendMessage(fd, bytes.subarray(0, encodeReady(bytes, 0, { window: 128, weight: 1, open: 0 })));
    }
  }

  close(): void {
    this.watch.close();
    native.close(this.listener);
    for (const channel of this.channels) native.close(channel);
    unlinkSync(this.path);
  }
}
