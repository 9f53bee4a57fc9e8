/** A control socket with nothing behind it: says what the test gives it, remembers what it was told. */
import { once } from "node:events";
import type { Server } from "node:http";
import type { Answer, Controlled } from "../../src/daemon/control/controlled.js";
import { type ControlServerOptions, createControlServer } from "../../src/daemon/control/server.js";
import { openControlSocket } from "../../src/daemon/control/socket.js";
import type { Status } from "../../src/daemon/status.js";
import { someStatus } from "./some-status.js";

export class FakeControlled implements Controlled {
  /** "drain app", "setLogLevel debug" … */
  readonly told: string[] = [];
  status_: Status = someStatus();
  /** To everything but status and metrics. */
  answer: Answer | (() => Promise<Answer>) = { ok: true, message: "done" };

  async status(): Promise<Status> {
    return this.status_;
  }
  async metrics(): Promise<{ contentType: string; text: string }> {
    return { contentType: "text/plain; version=0.0.4", text: "sni_handoff_up 1\n" };
  }
  reload = () => this.#hear("reload");
  upgrade = () => this.#hear("upgrade");
  diff = () => this.#hear("diff");
  stop = () => this.#hear("stop");
  drain = (target: string) => this.#hear(`drain ${target}`);
  undrain = (target: string) => this.#hear(`undrain ${target}`);
  setLogLevel = (level: string) => this.#hear(`setLogLevel ${level}`);

  async #hear(what: string): Promise<Answer> {
    this.told.push(what);
    return typeof this.answer === "function" ? this.answer() : this.answer;
  }
}

export class FakeDaemon {
  readonly controlled = new FakeControlled();
  readonly failures: string[] = [];
  readonly path: string;
  readonly server: Server;
  readonly #release: () => void;

  private constructor(path: string, options: ControlServerOptions) {
    const { descriptor, release } = openControlSocket(path);
    this.path = path;
    this.#release = release;
    this.server = createControlServer(this.controlled, {
      failed: (error, what) => this.failures.push(`${what}: ${error.message}`),
      ...options,
    });
    this.server.listen({ fd: descriptor });
  }

  static async start(path: string, options: ControlServerOptions = {}): Promise<FakeDaemon> {
    const daemon = new FakeDaemon(path, options);
    await once(daemon.server, "listening");
    return daemon;
  }

  async stop(): Promise<void> {
    this.#release();
    const closed = once(this.server, "close");
    this.server.close();
    this.server.closeAllConnections();
    await closed;
  }
}
