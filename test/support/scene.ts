/** A folder, a door, its backends and bare clients, and the end of all of them together. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CounterName } from "../../src/door/counters.js";
import { isAsleep } from "./asleep.js";
import { BackendProcess, type BackendStart } from "./backend-process.js";
import { openSockets } from "./descriptors.js";
import { type DoorOptions, DoorProcess } from "./door-process.js";
import { RawClient } from "./raw-client.js";
import { until } from "./wait.js";

export class Scene {
  readonly folder: string = mkdtempSync(join(tmpdir(), "sni-handoff-"));
  readonly backends: BackendProcess[] = [];
  readonly clients: RawClient[] = [];
  door!: DoorProcess;
  /** Sockets that the door had when it was ready and nobody was connected. */
  idle = 0;

  /** A configuration as of DoorProcess.start; `channels` is how many it opens to instances that are ready. */
  async startDoor(configuration: string, options: DoorOptions & { channels?: number } = {}): Promise<DoorProcess> {
    this.door = await DoorProcess.start(this.folder, configuration, options);
    await this.channels(options.channels ?? 0);
    this.idle = openSockets(this.door.pid);
    return this.door;
  }

  /** Resolves when the door has opened this many channels since its start. */
  async channels(count: number): Promise<void> {
    const opened = () => this.door.log.filter((line) => line.event === "channel.ready").length;
    await until(`${count} channels`, () => opened() >= count);
  }

  /** The path of a backend's socket. */
  at(name: string): string {
    return join(this.folder, `${name}.sock`);
  }

  async backend(start: BackendStart): Promise<BackendProcess> {
    const backend = await BackendProcess.start(start);
    this.backends.push(backend);
    return backend;
  }

  /** A backend that reads up to "END\n" and answers with the digest of all that it read. */
  raw(name: string): Promise<BackendProcess> {
    return this.backend({ kind: "raw", path: this.at(name), name });
  }

  /** Connects to the door, and sends. */
  async client(bytes?: Uint8Array, localAddress?: string): Promise<RawClient> {
    const client = await RawClient.connect(this.door.port, localAddress);
    this.clients.push(client);
    if (bytes !== undefined) client.send(bytes);
    return client;
  }

  /** Clients that the door has accepted and not let go of. */
  get clientsOfDoor(): number {
    return openSockets(this.door.pid) - this.idle;
  }

  /** Resolves when the door has this many clients, and has done with each what there is to do. */
  async doorHas(clients: number): Promise<void> {
    const { pid } = this.door;
    await until(`the door to have ${clients} clients`, () => this.clientsOfDoor === clients && isAsleep(pid));
  }

  /** Stops the door, which must have let go of all clients by itself, and gives its counters. */
  async counters(): Promise<Record<CounterName, number>> {
    await this.doorHas(0);
    return this.door.stop();
  }

  async end(): Promise<void> {
    for (const client of this.clients) client.close();
    for (const backend of this.backends) await backend.kill();
    if (this.door?.running) await this.door.kill();
    rmSync(this.folder, { recursive: true });
  }
}
