/** All that the demonstration plays with: a folder, certificates, a front door and its backends. */
import type { ChildProcess } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Certificate, createCertificate } from "./certificates.js";
import { Children } from "./children.js";
import { within } from "./deadline.js";
import { FrontDoor } from "./front-door.js";

const TIMEOUT = 15_000;

/** Longest folder that leaves room for a socket's name in the 107 bytes that unix(7) allows. */
const MAX_FOLDER = 80;

export type BackendName = "web" | "h2" | "pool";

export class Stage {
  readonly folder: string;
  readonly configurationFile: string;
  readonly logFile: string;
  readonly certificates: Readonly<Record<BackendName, Certificate>>;
  readonly door: FrontDoor;
  readonly children = new Children();
  port = 0;

  static async create(): Promise<Stage> {
    const base = tmpdir().length > MAX_FOLDER - 24 ? "/tmp" : tmpdir();
    const folder = await mkdtemp(join(base, "sni-handoff-demo-"));
    // The front door does not use a folder that others may write to.
    await mkdir(join(folder, "pool.d"), { mode: 0o700 });
    // .test is reserved for such use (RFC 6761 §6.2).
    const [web, h2, pool] = await Promise.all([
      createCertificate(folder, "web", "web.demo.test"),
      createCertificate(folder, "h2", "h2.demo.test"),
      createCertificate(folder, "pool", "pool.demo.test"),
    ]);
    return new Stage(folder, { web, h2, pool });
  }

  private constructor(folder: string, certificates: Stage["certificates"]) {
    this.folder = folder;
    this.certificates = certificates;
    this.configurationFile = join(folder, "front-door.yaml");
    this.logFile = join(folder, "front-door.log");
    this.door = new FrontDoor(this.children, this.configurationFile, this.logFile);
  }

  /** Starts the front door on a free port, or again on the port that it had. */
  async startDoor(): Promise<void> {
    await writeFile(this.configurationFile, configuration(this.port));
    this.port = await this.door.start();
  }

  /** Starts one process of a backend; resolves when it takes connections. */
  async startBackend(name: BackendName): Promise<ChildProcess> {
    const { keyFile, certificateFile } = this.certificates[name];
    const path = join(this.folder, name === "pool" ? "pool.d/" : `${name}.sock`);
    const kind = name === "h2" ? "http2" : "https";
    const program = fileURLToPath(new URL("backend.js", import.meta.url));
    const child = this.children.fork(program, [kind, name, path, keyFile, certificateFile]);
    const ready = new Promise<void>((resolve, reject) => {
      child.once("message", () => resolve());
      child.once("error", reject);
      child.once("exit", (status) => reject(new Error(`the backend ${name} ended with status ${status}`)));
    });
    await within(TIMEOUT, `the backend ${name} to be ready`, ready);
    return child;
  }

  target(name: BackendName) {
    return { port: this.port, certificate: this.certificates[name] };
  }

  /** Ends all processes and removes the folder. */
  async clear(): Promise<void> {
    await this.children.endAll();
    await rm(this.folder, { recursive: true, force: true });
  }
}

function configuration(port: number): string {
  return `# Written by \`sni-handoff demo\`. Paths are relative to this file.
listeners:
  - address: "127.0.0.1:${port}"
backends:
  web:  { handoff: web.sock, hold: 10s }
  h2:   { handoff: h2.sock }
  pool: { handoff: pool.d/ } # every socket in the folder is an instance
routes:
  web.demo.test: web
  h2.demo.test: h2
  pool.demo.test: pool
`;
}
