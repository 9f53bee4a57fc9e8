/** The processes of the fault model: a door whose socket is kept, its relay, instances, and who the relay connects to. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { native } from "../../../src/native/addon.js";
import { compileProgram } from "../../support/compile.js";
import { openSockets, socketsOf } from "../../support/descriptors.js";
import { isAlive, kill } from "../../support/process-status.js";
import { until } from "../../support/wait.js";
import { Door, PATIENCE } from "./door.js";
import { History } from "./history.js";
import { Instance, type InstanceStart } from "./instance.js";
import { Journal } from "./journal.js";
import { configuration, POOL, WORKERS } from "./names.js";
import { Relay } from "./relay.js";
import { WallClock } from "./wall-clock.js";

/**
 * Clients that the kernel keeps until the door accepts them. Where there are more it lets the handshakes of some wait, and
 * resets them after 3 s (half as many handshakes as this being open, SYN-ACKs are sent twice again, not five times): more
 * than a fault that has no more of them lasts, and longer than the one that does.
 */
const BACKLOG = 1024;

/** Instances that are ready when all is well; the relay's are its workers. Of others it is not known before a client comes. */
const READY: Readonly<Record<string, number>> = { app: 1, pool: POOL, relayed: WORKERS };

export interface SceneOptions {
  /** What the door's log goes to, in place of a pipe that is read. */
  readonly log?: number;
}

export class Scene {
  readonly folder: string = mkdtempSync(join(tmpdir(), "sni-handoff-model-"));
  readonly history: History = new History();
  readonly journal: Journal = new Journal(join(this.folder, "journal"));
  readonly clock: WallClock = new WallClock(this.folder);
  readonly port: number;
  /** Those that faults happen to: the one of app, the pool's, and the one of datagrams. */
  instances: Instance[] = [];
  door!: Door;
  relay!: Relay;
  version = 0;
  private readonly listener: number;
  private origin!: Instance;
  /** Open sockets of each process when nothing was to do, and what they were. */
  private idle: ReadonlyMap<string, { readonly count: number; readonly sockets: string }> | undefined;

  constructor() {
    this.listener = native.listenTcp({ address: "127.0.0.1", port: 0, backlog: BACKLOG, deferAccept: 1 });
    this.port = native.localAddress(this.listener).port;
  }

  async start({ log }: SceneOptions = {}): Promise<void> {
    const { folder, history } = this;
    mkdirSync(join(folder, "pool"), { mode: 0o755 });
    this.origin = await this.instance({ name: "relayed" });
    this.write(0);
    // One of the pool's is written in C.
    const program = compileProgram(new URL("./instance.c", import.meta.url), folder);
    const pool = Array.from({ length: POOL }, (_, i) => ({
      name: "pool",
      path: join(folder, "pool", `${i}.sock`),
      ...(i === 0 && { program }),
    }));
    this.instances = await Promise.all([
      this.instance({ name: "app", path: join(folder, "app.sock") }),
      ...pool.map((place) => this.instance(place)),
      this.instance({ name: "data", path: join(folder, "data.sock"), protocol: "datagram" }),
    ]);
    this.relay = new Relay(this.file, `${folder}/control.relay/.control.sock`, history.relaysKilled);
    await this.relay.run(this.clock.environment);
    const { file, listener } = this;
    const control = join(folder, "control.sock");
    const { environment } = this.clock;
    this.door = new Door(
      { file, control, listener, environment, ...(log !== undefined && { log }) },
      history.doorsKilled,
    );
    await this.door.run();
    history.inForce(0);
  }

  private async instance(start: Omit<InstanceStart, "journal" | "environment">): Promise<Instance> {
    const { environment } = this.clock;
    const instance = await Instance.start(
      { ...start, journal: this.journal.path, environment },
      this.history.instancesKilled,
    );
    this.history.backendOf.set(instance.pid, start.name);
    return instance;
  }

  /** The next process at an instance's place. */
  async restart(instance: Instance): Promise<void> {
    await instance.run();
    this.history.backendOf.set(instance.pid, instance.start.name);
  }

  /** The door's configuration. */
  get file(): string {
    return join(this.folder, "door.yaml");
  }

  private files(version: number) {
    return configuration(version, { folder: this.folder, port: this.port, originPort: this.origin.port });
  }

  /** Puts a version in the place of the one before: each file is whole at any time. */
  write(version: number): void {
    const { file, map } = this.files(version);
    this.history.written(version);
    this.version = version;
    for (const [name, text] of [
      ["names.map", map],
      ["door.yaml", file],
    ] as const) {
      writeFileSync(join(this.folder, `${name}.new`), text);
      renameSync(join(this.folder, `${name}.new`), join(this.folder, name));
    }
  }

  /** As `write`, but whoever reads meanwhile finds a part: calls `between` when so much of the file is there. */
  async tear(version: number, part: number, between: () => Promise<void>): Promise<void> {
    const { file, map } = this.files(version);
    this.history.written(version);
    this.version = version;
    writeFileSync(join(this.folder, "names.map"), map);
    writeFileSync(this.file, file.slice(0, Math.floor((file.trimEnd().length - 1) * part)));
    await between();
    writeFileSync(this.file, file);
  }

  /** Throws if somebody has ended whom nobody has ended. */
  check(): void {
    this.door.read();
    this.journal.read();
    if (!this.door.running) throw new Error(`the door ended by itself: ${this.door.stderr}`);
    if (!this.relay.running) throw new Error("the relay ended by itself");
    for (const { running, start, stderr } of [...this.instances, this.origin]) {
      if (!running) throw new Error(`an instance of ${start.name} ended by itself: ${stderr}`);
    }
  }

  /** Processes by what they are. */
  private get processes(): [string, number][] {
    const instances = this.instances.map(({ start, pid }): [string, number] => [
      start.path!.slice(this.folder.length + 1),
      pid,
    ]);
    return [["door", this.door.pid], ["relay", this.relay.pid], ...instances];
  }

  get pids(): readonly number[] {
    return this.processes.map(([, pid]) => pid);
  }

  /**
   * Resolves when there is nothing to do, and everything is as it was at the first call: no client is left, every
   * instance is ready, and as many sockets are open.
   */
  async isIdle(): Promise<void> {
    let wanting = "";
    const isIdle = async () => {
      this.check();
      wanting = await this.wanting();
      return wanting === "";
    };
    await until("nothing to be left to do", isIdle, PATIENCE).catch((error: Error) => {
      const process = this.processes.find(([name]) => wanting.startsWith(`${name} has `));
      const sockets = process === undefined ? "" : this.socketsNowAndBefore(...process);
      throw new Error(`${error.message}: ${wanting}${sockets}`);
    });
    this.idle ??= new Map(
      this.processes.map(([name, pid]) => [name, { count: openSockets(pid), sockets: socketsOf(pid) }]),
    );
  }

  private socketsNowAndBefore(name: string, pid: number): string {
    return `, now\n${socketsOf(pid)}\nand before\n${this.idle?.get(name)?.sockets}`;
  }

  /** What is not as it is when there is nothing to do; "" if all is. */
  private async wanting(): Promise<string> {
    if (!this.relay.isAlone) return "a relay that was told to make room is still there";
    const status = await this.door.status().catch((error: Error) => error.message);
    if (typeof status === "string") return status;
    if (status.pid !== this.door.pid) return `process ${status.pid} answers for the door, not ${this.door.pid}`;
    const busy = status.workers.find(({ connections }) => connections > 0);
    if (busy !== undefined) return `a worker has connections: ${JSON.stringify(busy)}`;
    for (const { name, instances } of status.backends) {
      const ready = instances.filter(({ state, channels }) => state === "ready" && channels === WORKERS);
      const needed = READY[name];
      if (needed !== undefined && ready.length !== needed)
        return `backend ${name} has ${ready.length} instances ready: ${JSON.stringify(instances)}`;
    }
    for (const [name, pid] of this.processes) {
      const open = openSockets(pid);
      const before = this.idle?.get(name)?.count ?? open;
      if (open !== before) return `${name} has ${open} sockets open, not ${before}`;
    }
    return "";
  }

  /** Every door with this scene's configuration. */
  private doors(): number[] {
    const isOurs = (pid: number) => {
      try {
        return isAlive(pid) && readFileSync(`/proc/${pid}/cmdline`, "latin1").split("\0").includes(this.file);
      } catch {
        return false; // gone
      }
    };
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .filter(isOurs);
  }

  async end(): Promise<void> {
    await this.relay?.end();
    for (const instance of [...this.instances, this.origin]) await instance?.kill();
    // Processes of an upgrade are nobody's children.
    for (let left = this.doors(); left.length > 0; left = this.doors()) {
      for (const pid of left) kill(pid);
      await until("the doors' ends", () => !left.some(isAlive));
    }
    this.journal.close();
    this.clock.close();
    native.close(this.listener);
    rmSync(this.folder, { recursive: true, force: true });
  }
}
