/** A front door and its relay, in processes of their own, and the end of both. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Child } from "../../support/child.js";
import { type DoorOptions, DoorProcess } from "../../support/door-process.js";

const program = fileURLToPath(new URL("../../../dist/cli/main.js", import.meta.url));

export class RelayedDoor {
  readonly door: DoorProcess;
  readonly relay: Child;

  private constructor(door: DoorProcess, relay: Child) {
    this.door = door;
    this.relay = relay;
  }

  get port(): number {
    return this.door.port;
  }

  /** `configuration` is YAML without `listeners`, `workers`, `log` and `relay`; `backends` are those to relay to. */
  static async start(
    folder: string,
    configuration: string,
    backends: readonly string[],
    options: DoorOptions = {},
  ): Promise<RelayedDoor> {
    const sockets = join(folder, "relay");
    mkdirSync(sockets, { recursive: true });
    const whole = `${configuration}\nrelay: { folder: "${sockets}/", workers: 1, start: false }\n`;
    const file = join(folder, "relay.yaml");
    writeFileSync(file, `listeners: [{ address: "127.0.0.1:0" }]\nlog: { level: debug }\n${whole}`);
    const relay = new Child(process.execPath, [program, "relay", "--config", file]);
    await relay.line("the relay's being ready", (line) => line.includes('"event":"relay.ready"'));
    const door = await DoorProcess.start(folder, whole, options);
    for (const backend of backends) await door.instances(backend, 1);
    return new RelayedDoor(door, relay);
  }

  /** Both end in order, or this throws. */
  async stop(): Promise<void> {
    if (this.door.running) await this.door.stop();
    const { status, signal } = await this.relay.end("SIGTERM");
    if (status !== 0) throw new Error(`the relay ended with ${status ?? signal}: ${this.relay.stderr}`);
  }

  async kill(): Promise<void> {
    await this.door.kill();
    await this.relay.end("SIGKILL");
  }
}
