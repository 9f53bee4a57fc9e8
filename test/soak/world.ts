/** Two front doors before the same backends, each with a relay: one that grows old, and one that is replaced again and again. */
import { mkdirSync } from "node:fs";
import type { BackendProcess } from "../support/backend-process.js";
import { type Certificate, certificate } from "../support/certificates.js";
import { openSockets } from "../support/descriptors.js";
import { RelayScene } from "../support/relay-scene.js";
import { Scene } from "../support/scene.js";
import { TlsOrigin } from "../support/tls-origin.js";

const WORKERS = 2;
const INSTANCES = 3;
/** Of each worker: to the instances of all backends but the one for datagrams, and to each of the relay's workers. */
const CHANNELS = WORKERS * (INSTANCES + 3 + WORKERS);

/** Most names that a reload brings beside those. */
export const FURTHER = 2000;
/** Reloads of that size after which a door's memory is what it stays: Node's heap grows to what it takes at most, and is kept. */
const WARMING = 150;

/** Names that TLS clients ask for: several processes, one that is never ended, a relay. */
export const names = ["pool.test", "steady.test", "relayed.test"] as const;

export class World {
  readonly old: RelayScene = new RelayScene();
  readonly replaced: RelayScene = new RelayScene();
  readonly doors: readonly RelayScene[] = [this.old, this.replaced];
  private readonly back: Scene = new Scene();
  certificate!: Certificate;
  readonly pool: BackendProcess[] = [];
  steady!: BackendProcess;
  brittle!: BackendProcess;
  private origin!: TlsOrigin;

  static async start(): Promise<World> {
    const world = new World();
    try {
      await world.startBackends();
      for (const scene of world.doors) {
        await scene.startRelaying(world.configuration(), ["relayed"], { workers: WORKERS });
        await scene.channels(CHANNELS);
        await scene.doorHas(scene.clientsOfDoor);
        scene.idle = openSockets(scene.door.pid);
        await world.warm(scene);
      }
      return world;
    } catch (error) {
      await world.end();
      throw error;
    }
  }

  private async warm({ door, head }: RelayScene): Promise<void> {
    for (let i = 1; i <= WARMING; i++) {
      door.write(`${head}${this.configuration(FURTHER - (i % 100))}`);
      await door.reload();
      door.child.lines.length = 0;
    }
  }

  private async startBackends(): Promise<void> {
    this.certificate = await certificate(...names, "brittle.test");
    mkdirSync(`${this.back.folder}/pool`, { mode: 0o755 });
    while (this.pool.length < INSTANCES) this.pool.push(await this.startInstance());
    this.steady = await this.startHttps("steady");
    this.brittle = await this.startHttps("brittle");
    await this.back.raw("plain");
    await this.back.backend({ kind: "raw", path: this.back.at("tar"), name: "tar", protocol: "datagram" });
    this.origin = await TlsOrigin.start(this.certificate);
    this.origin.server.keepAliveTimeout = 600_000;
  }

  startInstance(): Promise<BackendProcess> {
    return this.back.backend({ kind: "https", path: `${this.back.folder}/pool/`, certificate: this.certificate });
  }

  startHttps(name: string): Promise<BackendProcess> {
    return this.back.backend({ kind: "https", path: this.back.at(name), certificate: this.certificate, name });
  }

  /** `more`: how many further names it has. */
  configuration(more = 0): string {
    const further = Array.from({ length: more }, (_, i) => `  further-${i}.test: steady\n`).join("");
    return `accessLog: off
timeouts: { hello: 60s }
backends:
  pool: { handoff: "${this.back.folder}/pool/", hold: 60s, balance: least-connections }
  steady: { handoff: "${this.back.at("steady")}", hold: 60s }
  brittle: { handoff: "${this.back.at("brittle")}", hold: 60s }
  plain: { handoff: "${this.back.at("plain")}", hold: 60s }
  tar: { handoff: "${this.back.at("tar")}", protocol: datagram, hold: 60s }
  relayed: { relay: "${this.origin.target}", hold: 60s }
routes:
  pool.test: pool
  steady.test: steady
  brittle.test: brittle
  plain.test: plain
  tar.test: tar
  relayed.test: relayed
${further}`;
  }

  /** What the processes have said is forgotten: in ten minutes it is much. */
  forget(): void {
    for (const backend of this.back.backends) backend.child.lines.length = 0;
  }

  async end(): Promise<void> {
    for (const scene of this.doors) await scene.end();
    await this.origin?.close();
    await this.back.end();
  }
}
