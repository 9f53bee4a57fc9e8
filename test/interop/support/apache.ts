/** Apache httpd as it is: its configuration, and what an operator does to it. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Certificate } from "../../support/certificates.js";
import { Child } from "../../support/child.js";
import { childrenOf, isAlive } from "../../support/process-status.js";
import { until } from "../../support/wait.js";
import { peer } from "./peers.js";

/** What every answer ends with. */
export const ANSWER_END = "from httpd\n";

const MODULES = "/usr/lib/apache2/modules";

export interface ApacheStart {
  /** Of its own; the user www-data, who serves, must be able to reach it. */
  readonly folder: string;
  readonly certificate: Certificate;
  readonly mpm: "event" | "prefork" | "worker";
  /** Values of `Listen`. */
  readonly listen: readonly string[];
  /** More lines of the configuration. */
  readonly more?: string;
  readonly environment?: NodeJS.ProcessEnv;
}

/** A line of the access log. */
export interface Served {
  readonly client: string;
  readonly path: string;
}

export class Apache {
  private readonly start: ApacheStart;
  readonly child: Child;

  private constructor(start: ApacheStart) {
    this.start = start;
    writeFiles(start);
    const args = ["-d", start.folder, "-f", join(start.folder, "httpd.conf"), "-D", "FOREGROUND"];
    // It sends signals to its whole process group, which without a service manager would be this test's.
    const options = { env: { ...process.env, ...start.environment }, detached: true };
    this.child = new Child(peer("apache2"), args, options);
  }

  /** Resolves when it serves. */
  static async start(start: ApacheStart): Promise<Apache> {
    const apache = Apache.spawn(start);
    await apache.resumed(1);
    return apache;
  }

  /** Only starts it, since it may fail. */
  static spawn(start: ApacheStart): Apache {
    return new Apache(start);
  }

  /** SIGUSR1: the children before finish what they have. Resolves when they are gone. */
  async graceful(): Promise<void> {
    const before = childrenOf(this.child.pid);
    await this.again("SIGUSR1");
    await until("the end of the children before", () => !before.some(isAlive));
  }

  /** SIGHUP: the children before are ended at once. */
  restart(): Promise<void> {
    return this.again("SIGHUP");
  }

  /** SIGWINCH: everybody finishes what they have, and ends. */
  async gracefulStop(): Promise<void> {
    const { status, signal } = await this.child.end("SIGWINCH");
    if (status !== 0) throw new Error(`httpd ended with ${status ?? signal}: ${this.errors}`);
  }

  get errors(): string {
    return readText(join(this.start.folder, "error.log"));
  }

  get served(): Served[] {
    return readText(join(this.start.folder, "access.log"))
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => {
        const [client, path] = line.split(" ");
        return { client: client!, path: path! };
      });
  }

  private async again(signal: NodeJS.Signals): Promise<void> {
    const before = this.resumptions;
    this.child.process.kill(signal);
    await this.resumed(before + 1);
  }

  private async resumed(times: number): Promise<void> {
    await until("httpd to resume normal operations", () => {
      if (!this.child.running) throw new Error(`httpd ended: ${this.errors}\n${this.child.stderr}`);
      return this.resumptions >= times;
    });
  }

  /** AH00489 and AH00163: what each of its generations says when it serves. */
  private get resumptions(): number {
    return this.errors.split("-- resuming normal operations").length - 1;
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // not yet made
  }
}

function writeFiles({ folder, certificate, mpm, listen, more = "" }: ApacheStart): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "cert.pem"), certificate.cert);
  writeFileSync(join(folder, "key.pem"), certificate.key, { mode: 0o600 });
  writeFileSync(join(folder, "hello.txt"), `hello ${ANSWER_END}`);
  writeFileSync(join(folder, "error.log"), "");
  const modules = [`mpm_${mpm}`, "authz_core", "alias", "socache_shmcb", "ssl"];
  writeFileSync(
    join(folder, "httpd.conf"),
    `${modules.map((name) => `LoadModule ${name}_module ${MODULES}/mod_${name}.so`).join("\n")}
User www-data
Group www-data
ServerName ${certificate.name}
DefaultRuntimeDir ${folder}
PidFile ${folder}/httpd.pid
Mutex pthread
ErrorLog ${folder}/error.log
LogLevel notice
LogFormat "%{c}a:%{remote}p %U" served
CustomLog ${folder}/access.log served
${listen.map((address) => `Listen ${address}`).join("\n")}
GracefulShutdownTimeout 60
SSLEngine on
SSLCertificateFile ${folder}/cert.pem
SSLCertificateKeyFile ${folder}/key.pem
AliasMatch ^/ ${folder}/hello.txt
<Location />
  Require all granted
</Location>
${more}
`,
  );
}
