/** TCP connections to be handed over: both ends are here, the client's and the accepted one. */
import { readFileSync, readlinkSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { Intact, type Loop, native } from "../native/addon.js";
import { InPieces } from "./in-pieces.js";
import { beginProbe, type Probe, type ProbeKind } from "./probe.js";
import { eventually } from "./wait.js";

const BATCH = 64;
/** A connection over loopback takes no longer than this. Milliseconds. */
const PATIENCE = 10_000;

export class Connections {
  private readonly listener: number;
  private readonly loop: Loop;
  private readonly address: string;
  private readonly port: number;
  /** Accepted, by the client's port. */
  private readonly accepted: Map<number, number> = new Map();

  /** A listener of its own, at a port of the kernel's choice. */
  constructor(address: "127.0.0.1" | "::1" = "127.0.0.1") {
    this.address = address;
    this.listener = native.listenTcp({ address, port: 0, backlog: 511 });
    this.port = native.localAddress(this.listener).port;
    this.loop = native.createLoop({ events: 1, peeks: BATCH, peekBytes: 64, sends: 1, sendBytes: 64, closes: 1 });
  }

  /** The caller disposes of it. */
  async open(): Promise<Connection> {
    const client = connect(this.port, this.address);
    await new Promise<void>((resolve, reject) => client.once("connect", resolve).once("error", reject));
    client.removeAllListeners("error").on("error", () => {});
    const port = client.localPort!;
    const descriptor = await eventually(() => this.take(port), PATIENCE);
    if (descriptor === undefined) throw new Error(`the connection from port ${port} was not accepted`);
    return new Connection(client, descriptor.fd);
  }

  private take(port: number): { fd: number } | undefined {
    const count = this.accepted.has(port) ? 0 : this.loop.accept(this.listener, BATCH);
    for (let i = 0; i < count; i++) {
      const { peekAddresses, peekDescriptors } = this.loop;
      this.accepted.set((peekAddresses[20 * i + 2]! << 8) | peekAddresses[20 * i + 3]!, peekDescriptors[i]!);
    }
    const fd = this.accepted.get(port);
    this.accepted.delete(port);
    return fd === undefined ? undefined : { fd };
  }

  close(): void {
    native.close(this.listener);
    this.loop.destroy();
    for (const descriptor of this.accepted.values()) native.close(descriptor);
  }
}

export class Connection {
  readonly client: Socket;
  /** The accepted end: the door's copy. -1 once it is let go. */
  descriptor: number;
  /** How /proc/PID/fd shows the accepted end, in every process that has it. */
  readonly identity: string;
  private probe: Probe | undefined;

  /** Takes `descriptor` over. */
  constructor(client: Socket, descriptor: number) {
    this.client = client;
    this.descriptor = descriptor;
    this.identity = identityOf(descriptor);
  }

  /**
   * Has the client send its first bytes, and go on as far as one answer. With `goOn` only the first of them, and the rest
   * when that resolves.
   */
  begin(kind: ProbeKind, serverName: string, goOn?: Promise<void>): void {
    const stream = goOn === undefined ? this.client : new InPieces(this.client, goOn);
    this.probe ??= beginProbe(kind, stream, serverName);
  }

  /** Undefined as long as nothing has come, then "answered", or what happened instead. */
  get answer(): string | undefined {
    return this.probe?.answer;
  }

  /** Nobody has read from the accepted end, or written to it. The door's copy must be there. */
  get isWhole(): boolean {
    return this.descriptor >= 0 && native.intact(this.descriptor, 0) === Intact.WHOLE;
  }

  /** It is in state CLOSE: the client reset it. */
  get isGone(): boolean {
    return native.intact(this.descriptor, 0) === Intact.GONE;
  }

  /** The open file's flags, which every copy shares: O_NONBLOCK is one. proc(5), fdinfo. */
  get flags(): number {
    const info = readFileSync(`/proc/self/fdinfo/${this.descriptor}`, "utf8");
    return Number.parseInt(/^flags:\s+(\d+)/m.exec(info)![1]!, 8);
  }

  /** Closes the door's copy, as it does once the handoff is acknowledged. */
  letGo(): void {
    if (this.descriptor < 0) return;
    native.close(this.descriptor);
    this.descriptor = -1;
  }

  dispose(): void {
    this.letGo();
    this.probe?.end();
    this.client.destroy();
  }
}

/** How proc(5) shows an open descriptor: the same in every process that has a copy. */
export function identityOf(descriptor: number): string {
  return readlinkSync(`/proc/self/fd/${descriptor}`);
}
