/** A server that nobody changed, preloaded, behind the real door, with real clients; and the end of all of them. */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { type Certificate, certificate } from "../../support/certificates.js";
import { openDescriptors, openSockets } from "../../support/descriptors.js";
import { DoorProcess } from "../../support/door-process.js";
import { until } from "../../support/wait.js";
import { leftInQueue } from "./left-in-queue.js";
import { preloaded } from "./preload.js";
import { helpersOf, killAllOf, processesOf, unixSocketsOf } from "./processes-of.js";
import { Requests, type RequestsSummary } from "./requests.js";

/** What the server is told to listen on. Nobody listens there, so it needs not be free. */
export const ADDRESS = "127.0.0.1:443";

export class PreloadScene {
  /** Of the server alone, so that its processes are known by it; all users may read it. */
  readonly folder: string;
  readonly path: string;
  readonly certificate: Certificate;
  readonly environment: NodeJS.ProcessEnv;
  door!: DoorProcess;
  private readonly top: string;

  private constructor(certificate: Certificate, address: string) {
    this.certificate = certificate;
    this.top = mkdtempSync(join(tmpdir(), "sni-handoff-preload-"));
    chmodSync(this.top, 0o755);
    this.folder = join(this.top, "server");
    this.path = join(this.folder, "door.sock");
    this.environment = preloaded({ [address]: this.path });
  }

  /**
   * With a door that runs, and holds clients while there is no server. `address`: what the server is told to listen on.
   * `host`: where the door listens.
   */
  static async create({ address = ADDRESS, host = "127.0.0.1" } = {}): Promise<PreloadScene> {
    const scene = new PreloadScene(await certificate("app.test"), address);
    const configuration = `accessLog: all
backends: { app: { handoff: "${scene.path}", hold: 1m } }
routes: { app.test: app }
`;
    scene.door = await DoorProcess.start(join(scene.top, "door"), configuration, { host });
    return scene;
  }

  /**
   * Clients without a pause, each request over a connection and from an address of its own. They are few enough that none
   * waits for long to be accepted by a server that runs.
   */
  load(ending: string, clients = 8): Promise<Requests> {
    return Requests.start({ port: this.door.port, name: this.certificate.name, clients, sources: 60_000, ending });
  }

  /** Open descriptors: the door's sockets, each helper's descriptors, and the most sockets that one of the server's has. */
  descriptors(): { door: number; helpers: number[]; server: number } {
    const helpers = helpersOf(this.folder);
    const others = processesOf(this.folder).filter((pid) => !helpers.includes(pid));
    return {
      door: openSockets(this.door.pid),
      helpers: helpers.map((pid) => openDescriptors(pid).length),
      server: Math.max(0, ...others.map((pid) => openSockets(pid))),
    };
  }

  /** SIGKILL to the helper; resolves when there is another one, and the door has a channel to it. */
  async killHelper(): Promise<void> {
    const helper = await this.helper();
    const channels = this.channels;
    process.kill(helper, "SIGKILL");
    await until("another helper", async () => (await this.helper()) !== helper);
    await until("a channel to it", () => this.channels > channels);
  }

  /** The one that there is: while it starts, there are two processes of that name. */
  private helper(): Promise<number> {
    return until("one helper", () => {
      const all = helpersOf(this.folder);
      return all.length === 1 && all[0];
    });
  }

  private get channels(): number {
    return this.door.child.lines.filter((line) => line.includes('"event":"channel.ready"')).length;
  }

  /**
   * The server has been stopped. `clients`: "127.64.0.1:1234" of each request in its log. All are real addresses, no
   * connection was served twice, none was lost but what may have been in its queue when it stopped, and nothing is left of
   * it. With `leaky` the log may lack some lines, and what was answered counts as served.
   */
  async expectEnd(
    clients: readonly string[],
    { completed, failures }: RequestsSummary,
    { leaky = false } = {},
  ): Promise<void> {
    expect(clients.filter((client) => !/^127\.6[45]\.\d+\.\d+:\d+$/.test(client))).toEqual([]);
    expect(new Set(clients).size).toBe(clients.length);
    expect(clients.length).toBeGreaterThanOrEqual(leaky ? completed * 0.98 : completed);
    await this.expectNothingLeft();
    const { acknowledged, lost_after_read, client_gone } = await this.door.stop();
    expect({ lost_after_read, client_gone }).toEqual({ lost_after_read: 0, client_gone: 0 });
    const lost = acknowledged - (leaky ? completed : clients.length);
    expect(failures).toEqual({ refused: 0, reset: lost, closed: 0, halved: 0, unanswered: 0, other: 0 });
    if (lost === 0) return;
    const served = new Set(clients);
    const unserved = [...leftInQueue(this.door.log)].filter((client) => !served.has(client));
    const inQueue = leaky ? Math.min(unserved.length, lost) : unserved.length;
    expect(inQueue, `${lost} were lost, and so many may have been in the queue`).toBe(lost);
  }

  /** No process of the server, no helper, and no socket of theirs. */
  async expectNothingLeft(): Promise<void> {
    await until("the end of all processes", () => processesOf(this.folder).length === 0).catch(() => {});
    expect({ processes: processesOf(this.folder), sockets: unixSocketsOf(this.folder) }).toEqual({
      processes: [],
      sockets: [],
    });
  }

  async end(): Promise<void> {
    killAllOf(this.folder);
    if (this.door.running) await this.door.kill();
    rmSync(this.top, { recursive: true });
  }
}
