/** A port whose connections are handed to an instance: the least that a door does, for tests of the instance. */
import type { Server, Socket } from "node:net";
import { MessageType } from "../../src/handoff/layout.js";
import { native } from "../../src/native/addon.js";
import { FakeDoor, type Told } from "./fake-door.js";
import { TcpListener } from "./tcp.js";
import { until } from "./wait.js";

export class Bridge {
  readonly door: FakeDoor;
  readonly listener: TcpListener = new TcpListener();
  /** What is told about the next connections. */
  told: Told = {};
  private readonly kept: number[] = [];
  private isOpen = true;

  private constructor(door: FakeDoor) {
    this.door = door;
  }

  static async open(path: string): Promise<Bridge> {
    return new Bridge(await FakeDoor.open(path));
  }

  get port(): number {
    return this.listener.port;
  }

  /** Hands over the next connection that a client opens. Returns its sequence. */
  async next(told: Told = this.told): Promise<number> {
    const descriptor = await this.listener.accept();
    return this.keep(descriptor, this.door.handOver(descriptor, told));
  }

  /** Has `drop` close the descriptor. */
  keep(descriptor: number, sequence: number): number {
    this.kept.push(descriptor);
    return sequence;
  }

  /** Hands over the next connection, and drops the door's copy when it was acknowledged, as a door does. */
  async deliver(told?: Told): Promise<void> {
    const sequence = await this.next(told);
    await this.door.acknowledged(sequence);
    this.drop();
  }

  /** Closes the door's copies. */
  drop(): void {
    for (const descriptor of this.kept.splice(0)) native.close(descriptor);
  }

  /** Closes the channel once the instance asks for it. */
  async drain(): Promise<void> {
    await this.door.next(MessageType.DRAIN);
    this.close();
  }

  close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.door.close();
    this.drop();
    this.listener.close();
  }
}

/** Clients of a test, all gone at its end. */
export function destroyAll(sockets: Socket[]): void {
  for (const socket of sockets.splice(0)) socket.destroy();
}

/** A port that a server accepts on by itself, to compare with. */
export async function listenOnPort(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await until("the port", () => server.listening);
  return (server.address() as { port: number }).port;
}
