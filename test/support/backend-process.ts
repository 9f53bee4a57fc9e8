/** A backend in a process of its own: test/fixtures/backend.mjs. */
import { fileURLToPath } from "node:url";
import type { Certificate } from "./certificates.js";
import { Child } from "./child.js";

const program = fileURLToPath(new URL("../fixtures/backend.mjs", import.meta.url));

export interface BackendStart {
  readonly kind: "https" | "http2" | "raw";
  readonly path: string;
  readonly certificate?: Certificate;
  /** One for each server name, in place of `certificate`. */
  readonly certificates?: readonly Certificate[];
  readonly name?: string;
  readonly protocol?: "datagram";
  readonly window?: number;
  /** server.maxConnections, of https and http2 ones. */
  readonly maxConnections?: number;
  readonly idleTimeout?: number;
  /** What raw ones say first. */
  readonly greeting?: string;
  /** Numbers or names: who may be a door. */
  readonly allowedUsers?: readonly (string | number)[];
  /** A command that runs it: ["prlimit", "--nofile=64"]. */
  readonly prefix?: readonly string[];
}

/** The command that runs it. */
export function backendCommand(start: BackendStart): string[] {
  const { certificate, name, prefix = [], ...rest } = start;
  const argument = { ...rest, name: name ?? certificate?.name, cert: certificate?.cert, key: certificate?.key };
  return [...prefix, process.execPath, program, JSON.stringify(argument)];
}

export class BackendProcess {
  readonly child: Child;

  private constructor(child: Child) {
    this.child = child;
  }

  /** Resolves when it listens on its path. */
  static async start(start: BackendStart): Promise<BackendProcess> {
    const [command, ...args] = backendCommand(start);
    const backend = new BackendProcess(new Child(command!, args));
    await backend.child.line("the backend's being ready", (line) => line.startsWith('{"ready"'));
    return backend;
  }

  get pid(): number {
    return this.child.pid;
  }

  /** URLs, or names, that it has served, in order. */
  get served(): string[] {
    return this.child.lines.filter((line) => line.startsWith('{"served"')).map((line) => JSON.parse(line).served);
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  async stop(): Promise<void> {
    await this.child.end("SIGTERM");
  }

  async kill(): Promise<void> {
    await this.child.end("SIGKILL");
  }
}
