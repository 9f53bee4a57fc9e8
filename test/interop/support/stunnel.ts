/** stunnel as it is: TLS in front of a plain service. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Certificate } from "../../support/certificates.js";
import { Child } from "../../support/child.js";
import { until } from "../../support/wait.js";
import { peer } from "./peers.js";

export interface StunnelStart {
  /** Of its own. */
  readonly folder: string;
  readonly certificate: Certificate;
  readonly accept: string;
  /** The plain service. */
  readonly connect: string;
  readonly environment?: NodeJS.ProcessEnv;
}

export class Stunnel {
  private readonly folder: string;
  readonly child: Child;

  private constructor(start: StunnelStart) {
    this.folder = start.folder;
    const file = writeFiles(start);
    this.child = new Child(peer("stunnel"), [file], { env: { ...process.env, ...start.environment } });
  }

  /** Resolves when it serves. */
  static async start(start: StunnelStart): Promise<Stunnel> {
    const stunnel = Stunnel.spawn(start);
    await stunnel.bound(1);
    return stunnel;
  }

  /** Only starts it, since it may fail. */
  static spawn(start: StunnelStart): Stunnel {
    return new Stunnel(start);
  }

  /** SIGHUP: reads its configuration again, and listens anew. */
  async reload(): Promise<void> {
    const before = this.bindings;
    this.child.process.kill("SIGHUP");
    await this.bound(before + 1);
  }

  async stop(): Promise<void> {
    await this.child.end("SIGTERM");
  }

  get log(): string {
    try {
      return readFileSync(join(this.folder, "stunnel.log"), "utf8");
    } catch {
      return ""; // not yet made
    }
  }

  /** "127.0.0.1:1234" of each connection that it logged. */
  get clients(): string[] {
    return [...this.log.matchAll(/accepted connection from (\S+)$/gm)].map(([, client]) => client!);
  }

  private async bound(times: number): Promise<void> {
    await until("stunnel to listen", () => {
      if (!this.child.running) throw new Error(`stunnel ended: ${this.log}\n${this.child.stderr}`);
      return this.bindings >= times;
    });
  }

  private get bindings(): number {
    return this.log.split("Configuration successful").length - 1;
  }
}

function writeFiles({ folder, certificate, accept, connect }: StunnelStart): string {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "cert.pem"), certificate.cert);
  writeFileSync(join(folder, "key.pem"), certificate.key, { mode: 0o600 });
  const file = join(folder, "stunnel.conf");
  writeFileSync(
    file,
    `foreground = yes
pid =
output = ${folder}/stunnel.log
debug = notice
[service]
accept = ${accept}
connect = ${connect}
cert = ${folder}/cert.pem
key = ${folder}/key.pem
`,
  );
  return file;
}
