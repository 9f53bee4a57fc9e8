/** nginx as it is: its configuration, and what an operator does to it: start, reload, upgrade, quit. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Certificate } from "../../support/certificates.js";
import { Child } from "../../support/child.js";
import { childrenOf, isAlive, kill } from "../../support/process-status.js";
import { until } from "../../support/wait.js";
import { peer } from "./peers.js";

/** What every answer ends with. */
export const ANSWER_END = "from nginx\n";

export interface NginxStart {
  readonly folder: string;
  /** Of its files. */
  readonly name?: string;
  readonly certificate: Certificate;
  /** Values of `listen`, without `ssl` and `http2`. */
  readonly listen: readonly string[];
  /** Default 2. */
  readonly workers?: number;
  readonly daemon?: boolean;
  /** More lines of `events`. */
  readonly events?: string;
  readonly environment?: NodeJS.ProcessEnv;
  /** A command that runs it: ["setpriv", …]. */
  readonly prefix?: readonly string[];
}

/** A line of the access log. */
export interface Served {
  readonly client: string;
  /** The address that the client connected to, as nginx sees it. */
  readonly server: string;
  readonly worker: number;
  readonly status: number;
  /** Server name. */
  readonly name: string;
}

/** Masters of nginx that run, daemons among them: nobody's children. */
const masters = new Set<number>();
process.on("exit", () => {
  for (const pid of masters) kill(pid);
});

export class Nginx {
  readonly start: NginxStart;
  /** The command that was started; with `daemon` it has ended. */
  readonly child: Child;
  /** The master process in charge. */
  pid = 0;

  private constructor(start: NginxStart, child: Child) {
    this.start = start;
    this.child = child;
  }

  /** Resolves when its workers run. */
  static async start(start: NginxStart): Promise<Nginx> {
    const nginx = Nginx.spawn(start);
    if (start.daemon) {
      // Both the end and that of its output, which whoever starts a daemon waits for.
      const { status, signal } = await nginx.child.ended;
      if (status !== 0) throw new Error(`nginx ended with ${status ?? signal}: ${nginx.child.stderr}`);
    }
    nginx.pid = await nginx.ready(0);
    return nginx;
  }

  /** Only starts it, since it may fail. */
  static spawn(start: NginxStart): Nginx {
    const [command, ...args] = commandOf(start);
    return new Nginx(start, new Child(command!, args, { env: { ...process.env, ...start.environment } }));
  }

  /** Writes its files; the command that starts it, by itself. */
  static command(start: NginxStart): string[] {
    return commandOf(start);
  }

  /** `nginx -t`. */
  static check(start: NginxStart): { status: number | null; said: string } {
    const [command, ...args] = [...commandOf(start), "-t"];
    const { status, stderr } = spawnSync(command!, args, {
      encoding: "utf8",
      env: { ...process.env, ...start.environment },
    });
    return { status, said: stderr };
  }

  get workers(): number[] {
    return workersOf(this.pid);
  }

  /** What it has said since its start. */
  get errors(): string {
    return readFileSync(fileOf(this.start, "error.log"), "utf8");
  }

  get served(): Served[] {
    return readFileSync(fileOf(this.start, "access.log"), "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => {
        const [client, server, worker, status, name] = line.split(" ");
        return { client: client!, server: server!, worker: Number(worker), status: Number(status), name: name! };
      });
  }

  /** SIGHUP; resolves when the workers before are gone and the new ones run. */
  async reload(): Promise<void> {
    const before = this.workers;
    process.kill(this.pid, "SIGHUP");
    await until("the workers after a reload", () => {
      const now = this.workers;
      return now.length === this.count && !now.some((pid) => before.includes(pid));
    });
  }

  /** As its manual has it: USR2, then WINCH and QUIT for the one before. */
  async upgrade(): Promise<void> {
    const before = this.pid;
    process.kill(before, "SIGUSR2");
    this.pid = await this.ready(before);
    process.kill(before, "SIGWINCH");
    await until("the end of the workers before", () => workersOf(before).length === 0);
    await endOf(before, "SIGQUIT");
  }

  /** An upgrade that is undone: HUP gives the one before its workers again, QUIT ends the new one. */
  async rollBack(): Promise<void> {
    const before = this.pid;
    process.kill(before, "SIGUSR2");
    const after = await this.ready(before);
    process.kill(before, "SIGWINCH");
    await until("the end of the workers before", () => workersOf(before).length === 0);
    process.kill(before, "SIGHUP");
    await until("the workers again", () => workersOf(before).length === this.count);
    await endOf(after, "SIGQUIT");
    await until("its pid file again", () => masterOf(this.start) === before);
  }

  /** SIGQUIT, which finishes requests, or another signal. Resolves when it is gone. */
  async end(signal: NodeJS.Signals = "SIGQUIT"): Promise<void> {
    if (this.pid !== 0) await endOf(this.pid, signal);
    else if (this.child.running) await this.child.end(signal);
  }

  private get count(): number {
    return this.start.workers ?? 2;
  }

  /** The master in its pid file, once that is another one than `before` and has its workers. */
  private ready(before: number): Promise<number> {
    return until(`nginx to run: ${this.start.name}`, () => {
      if (!this.start.daemon && before === 0 && !this.child.running) {
        throw new Error(`nginx ended: ${this.child.stderr}`);
      }
      const pid = masterOf(this.start);
      if (pid === before || pid === 0 || !isAlive(pid)) return false;
      masters.add(pid);
      return workersOf(pid).length === this.count && pid;
    });
  }
}

async function endOf(pid: number, signal: NodeJS.Signals): Promise<void> {
  if (isAlive(pid)) process.kill(pid, signal);
  await until(`the end of nginx by ${signal}`, () => !isAlive(pid));
  masters.delete(pid);
}

function fileOf({ folder, name = "nginx" }: NginxStart, file: string): string {
  return join(folder, `${name}.${file}`);
}

function masterOf(start: NginxStart): number {
  try {
    return Number(readFileSync(fileOf(start, "pid"), "utf8"));
  } catch {
    return 0;
  }
}

/** Those that are shutting down are none: their title says so. A worker is a copy of its master until it has set its own. */
function workersOf(master: number): number[] {
  try {
    return childrenOf(master).filter((pid) => titleOf(pid) === "nginx: worker process");
  } catch {
    return []; // gone
  }
}

function titleOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1").replace(/[\0 ]+$/, "");
  } catch {
    return ""; // gone
  }
}

/** Writes its files; the command that starts it. */
function commandOf(start: NginxStart): string[] {
  const { folder, certificate, listen, workers = 2, daemon = false, events = "", prefix = [] } = start;
  mkdirSync(folder, { recursive: true });
  const at = (file: string) => fileOf(start, file);
  writeFileSync(at("crt"), certificate.cert);
  writeFileSync(at("key"), certificate.key);
  writeFileSync(
    at("conf"),
    `daemon ${daemon ? "on" : "off"};
worker_processes ${workers};
pid ${at("pid")};
error_log ${at("error.log")} notice;
events {
  worker_connections 2000;
  ${events}
}
http {
  log_format served "$remote_addr:$remote_port $server_addr:$server_port $pid $status $ssl_server_name";
  access_log ${at("access.log")} served;
  ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${at(kind)};`).join("\n  ")}
  keepalive_requests 1000000;
  server {
    ${listen.map((address) => `listen ${address} ssl http2;`).join("\n    ")}
    ssl_certificate ${at("crt")};
    ssl_certificate_key ${at("key")};
    location / { return 200 "hello ${ANSWER_END.replace("\n", "\\n")}"; }
  }
}
`,
  );
  return [...prefix, peer("nginx"), "-p", folder, "-e", at("error.log"), "-c", at("conf")];
}
