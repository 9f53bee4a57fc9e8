/** A stand-in for systemd that holds one socket: test/fixtures/manager.mjs. */
import { fileURLToPath } from "node:url";
import { type BackendStart, backendCommand } from "./backend-process.js";
import { Child, type Ended } from "./child.js";

const program = fileURLToPath(new URL("../fixtures/manager.mjs", import.meta.url));

export interface ManagerStart {
  readonly path: string;
  /** Its service: a backend, or any command. */
  readonly service: BackendStart | readonly string[];
  /** A command that it runs beside the service. */
  readonly also?: readonly string[];
  /** A command that runs the manager. */
  readonly prefix?: readonly string[];
}

export class ManagerProcess {
  readonly child: Child;

  private constructor(child: Child) {
    this.child = child;
  }

  /** Resolves when it listens. */
  static async start({ path, service, also, prefix = [] }: ManagerStart): Promise<ManagerProcess> {
    const argument = { path, service: "kind" in service ? backendCommand(service) : service, also };
    const [command, ...args] = [...prefix, process.execPath, program, JSON.stringify(argument)];
    const manager = new ManagerProcess(new Child(command!, args, { stdio: ["pipe", "pipe", "pipe"] }));
    await manager.child.line("the manager's listening", (line) => line.startsWith('{"listening"'));
    return manager;
  }

  /** How often it has started the service. */
  get starts(): number {
    return this.child.lines.filter((line) => line.startsWith('{"started"')).length;
  }

  /** How the service has ended, each time. */
  get ends(): Ended[] {
    return this.child.lines.filter((line) => line.startsWith('{"ended"')).map((line) => JSON.parse(line).ended);
  }

  /** As `systemctl stop`: the socket stays. */
  stopService(): void {
    this.child.process.stdin!.write("stop\n");
  }

  /** With what it runs. */
  async end(): Promise<void> {
    this.child.process.stdin!.end();
    await this.child.ended;
  }
}
