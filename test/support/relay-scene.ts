/** A scene whose door has relay backends: the origins, and the relays that are left when the door is gone. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { askRelayStatus } from "../../src/daemon/control/client.js";
import type { RelayStatus } from "../../src/daemon/relay/status.js";
import type { Certificate } from "./certificates.js";
import { Child } from "./child.js";
import type { DoorOptions, LogLine } from "./door-process.js";
import { kill } from "./process-status.js";
import { Scene } from "./scene.js";
import { TlsOrigin } from "./tls-origin.js";

const program = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

export class RelayScene extends Scene {
  private readonly origins: TlsOrigin[] = [];
  private readonly relays: Set<number> = new Set();
  private readonly children: Child[] = [];

  async origin(certificate: Certificate, at: string | number = 0): Promise<TlsOrigin> {
    const origin = await TlsOrigin.start(certificate, at);
    this.origins.push(origin);
    return origin;
  }

  /** What every configuration has. */
  get head(): string {
    return `control: ${this.folder}/control.sock\n`;
  }

  /** The control socket of the relay, wherever it comes from. */
  get relayControl(): string {
    return `${this.folder}/control.relay/.control.sock`;
  }

  /** Resolves when the door has a channel to the relay for each of these backends. */
  async startRelaying(
    configuration: string,
    backends: readonly string[],
    options: DoorOptions = {},
  ): Promise<RelayStatus> {
    await this.startDoor(`${this.head}${configuration}`, options);
    for (const backend of backends) await this.door.instances(backend, 1);
    return this.relay();
  }

  async relay(): Promise<RelayStatus> {
    const status = await askRelayStatus(this.relayControl);
    this.relays.add(status.pid);
    return status;
  }

  /** A relay that nobody but the test has started. `options` of its command line; or the program, in place of the one built here. */
  async startRelay(configuration: string, ...options: readonly string[]): Promise<Child> {
    const own = options.find((each) => !each.startsWith("--")) ?? program;
    const rest = options.filter((each) => each.startsWith("--"));
    const child = new Child(process.execPath, [own, "relay", "--config", configuration, ...rest]);
    this.children.push(child);
    this.relays.add(child.pid);
    await child.line("the relay to be ready", (line) => line.includes('"event":"relay.ready"'));
    return child;
  }

  /** Log lines of this event, of the door and the relay that it started. */
  lines(event: string): LogLine[] {
    return this.door.log.filter((line) => line.event === event);
  }

  override async end(): Promise<void> {
    for (const pid of this.relays) kill(pid);
    const started = this.door === undefined ? [] : this.lines("relay.started").map(({ pid }) => pid as number);
    if (this.door?.running) kill(this.door.pid);
    for (const pid of started) kill(pid);
    for (const child of this.children) await child.ended;
    for (const origin of this.origins) await origin.close();
    await super.end();
  }
}

/** Clients whose ports are taken for as long as this process lives. */
const taken: Socket[] = [];

/**
 * A port of loopback where nobody listens, nor can: it is a client's, which stays connected. It is bound, so that the kernel
 * gives it to nobody who connects there, who would be connected to himself.
 */
export async function deadPort(): Promise<number> {
  const server = createServer((socket) => taken.push(socket.unref())).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const client = connect({ host: "127.0.0.1", port, localAddress: "127.0.0.1" }).unref();
  taken.push(client);
  await Promise.all([once(client, "connect"), once(server, "connection")]);
  server.close();
  return client.localPort!;
}
