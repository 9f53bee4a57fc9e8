/** HAProxy as it is: its configuration, and what an operator does to it: reloads by its master, or by the next process. */
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Certificate } from "../../support/certificates.js";
import { Child } from "../../support/child.js";
import { childrenOf, isAlive } from "../../support/process-status.js";
import { until } from "../../support/wait.js";
import { peer } from "./peers.js";

/** What every answer ends with. */
export const ANSWER_END = "from haproxy\n";

/** Of those that were started, one after the other: the names of their logs. */
let started = 0;

export interface HaproxyStart {
  /** Of its own; exists for as long as any of its processes. */
  readonly folder: string;
  readonly certificate: Certificate;
  /** Values of `bind`, without `ssl`. */
  readonly bind: readonly string[];
  /** `-W`: a master process, which starts a worker. Otherwise the one process serves. */
  readonly master: boolean;
  /** More options of the command: ["-x", SOCKET, "-sf", PID]. */
  readonly options?: readonly string[];
  readonly environment?: NodeJS.ProcessEnv;
}

export class Haproxy {
  private readonly start: HaproxyStart;
  private readonly log: string;
  readonly child: Child;

  private constructor(start: HaproxyStart) {
    this.start = start;
    const file = writeFiles(start);
    const args = [start.master ? "-W" : "-db", "-f", file, ...(start.options ?? [])];
    this.log = join(start.folder, `haproxy-${++started}.log`);
    // A file, since it drops what a pipe has no room for at the moment: when the pipe's reader does not get to run.
    const output = openSync(this.log, "a");
    const env = { ...process.env, ...start.environment };
    this.child = new Child(peer("haproxy"), args, { env, stdio: ["ignore", output, "pipe"] });
    closeSync(output);
  }

  /** Resolves when it serves. */
  static async start(start: HaproxyStart): Promise<Haproxy> {
    const haproxy = Haproxy.spawn(start);
    await until("HAProxy to serve", () => haproxy.begun() > 0);
    return haproxy;
  }

  /** Only starts it, since it may fail. */
  static spawn(start: HaproxyStart): Haproxy {
    return new Haproxy(start);
  }

  /** For `-x` of the process that is to take its place: a socket that gives listeners away. */
  static statsSocket(folder: string): string {
    return join(folder, "stats.sock");
  }

  /** SIGUSR2 to the master. Resolves when a new worker serves and the one before is gone. */
  async reload(): Promise<void> {
    const before = childrenOf(this.child.pid);
    this.child.process.kill("SIGUSR2");
    await until("the worker after a reload", () => {
      this.begun();
      const now = childrenOf(this.child.pid);
      return now.length === 1 && !before.includes(now[0]!);
    });
  }

  /** SIGUSR1: finishes what it has. */
  async softStop(): Promise<void> {
    await this.child.end("SIGUSR1");
  }

  /** "127.0.0.1:1234" of each request that it logged. */
  get clients(): string[] {
    // Processes that write at the same time may share a line.
    return [...this.logged.matchAll(/served (\S+:\d+) /g)].map(([, client]) => client!);
  }

  private get logged(): string {
    return readFileSync(this.log, "utf8");
  }

  /** Its worker if that runs its loop: it has answered on its own socket. */
  private begun(): number {
    if (!this.child.running) throw new Error(`HAProxy ended: ${this.logged}\n${this.child.stderr}`);
    if (!this.start.master) return isServing(this.child.pid) ? 1 : 0;
    return childrenOf(this.child.pid).filter(isServing).length;
  }
}

/** It waits for events: proc(5), wchan is not for everybody, its threads are. */
function isServing(pid: number): boolean {
  try {
    return isAlive(pid) && /^Threads:\t[2-9]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

function writeFiles({ folder, certificate, bind, master }: HaproxyStart): string {
  mkdirSync(folder, { recursive: true });
  // "crt" is one file with both.
  writeFileSync(join(folder, "both.pem"), `${certificate.cert}\n${certificate.key}\n`, { mode: 0o600 });
  const file = join(folder, "haproxy.cfg");
  // A master's workers get the listeners of those before over its own sockets.
  const stats = master
    ? ""
    : `  stats socket ${Haproxy.statsSocket(folder)} mode 600 level admin expose-fd listeners\n`;
  writeFileSync(
    file,
    `global
  log stdout format raw daemon
  maxconn 1000
  nbthread 2
  user nobody
  group nogroup
${stats}defaults
  mode http
  timeout client 1m
  timeout http-request 1m
frontend server
${bind.map((address) => `  bind ${address} ssl crt ${folder}/both.pem alpn h2,http/1.1\n`).join("")}
  log global
  log-format "served %ci:%cp %HP"
  http-request return status 200 content-type text/plain string "hello ${ANSWER_END.replace("\n", "\\n")}"
`,
  );
  return file;
}
