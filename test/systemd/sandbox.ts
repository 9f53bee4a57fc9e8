/** A systemd of its own for a test file, with this project installed in it as examples/systemd/README.md says. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll } from "vitest";
import { Child } from "../support/child.js";
import { until } from "../support/wait.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const script = fileURLToPath(new URL("../support/systemd-sandbox.sh", import.meta.url));

/** Where the project is seen in there. */
export const PROJECT = "/opt/front-door/node_modules/sni-handoff";
const PREPARE = `
  [ -x /usr/bin/node ] || [ -x /usr/local/bin/node ] || ln -s /mnt/node/bin/node /usr/local/bin/node
  mkdir -p /opt/front-door/node_modules/.bin /etc/app
  printf '#!/bin/sh\nexec node ${PROJECT}/dist/cli/main.js "$@"\n' >/opt/front-door/node_modules/.bin/sni-handoff
  chmod 755 /opt/front-door/node_modules/.bin/sni-handoff
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3 -subj /CN=app.example.com \
    -addext subjectAltName=DNS:app.example.com,DNS:a.pool.example.com \
    -keyout /etc/app/key.pem -out /etc/app/cert.pem 2>/dev/null
  chmod 600 /etc/app/key.pem`;

/**
 * Has the README's front door wait for the app's start for as long as that takes on a machine in use; for the clients of
 * impatient.example.com, for 5 s.
 */
export const PATIENT = `
  cd /etc/sni-handoff
  sed -i 's/hold: 10s/hold: 60s/
    s,^backends:,backends:\\n  impatient: { handoff: /run/app/door.sock\\, connect: lazily\\, hold: 5s\\, fallback: sorry },' front-door.yaml
  echo '  impatient.example.com: impatient' >>front-door.yaml`;

export interface Ran {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class Sandbox {
  private child: Child | undefined;
  private first: number = 0;

  /** One for the test file, from its first test to its last. */
  constructor() {
    beforeAll(() => this.boot());
    afterAll(() => this.end());
  }

  private async boot(): Promise<void> {
    const node = fileURLToPath(new URL("..", `file://${process.execPath}`));
    const child = new Child(script, [`${root}:${PROJECT}`, `${node}:/mnt/node`], { stdio: ["pipe", "pipe", "pipe"] });
    this.child = child;
    this.first = await child.line("systemd", (line) => Number(/^ready (\d+)$/.exec(line)?.[1] ?? 0) || undefined);
    await this.run(PREPARE);
  }

  private async end(): Promise<void> {
    this.child?.process.stdin?.end();
    await this.child?.ended;
  }

  private enter(command: readonly string[]): [string, ...string[]] {
    return ["nsenter", "-t", String(this.first), "-m", "-u", "-i", "-n", "-p", ...command];
  }

  /** Runs a bash script inside, as root; whatever its status. */
  attempt(commands: string): Promise<Ran> {
    const [command, ...args] = this.enter(["bash", "--norc", "-euc", commands]);
    const env = { PATH: "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C.UTF-8", SYSTEMD_PAGER: "" };
    return new Promise((resolve) => {
      execFile(command, args, { env, maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
        const status = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
        resolve({ status, stdout, stderr });
      });
    });
  }

  /** The same; its standard output, trimmed. Throws unless the status is 0. */
  async run(commands: string): Promise<string> {
    const { status, stdout, stderr } = await this.attempt(commands);
    if (status !== 0) throw new Error(`status ${status} of ${commands}\n${stdout}\n${stderr}`);
    return stdout.trim();
  }

  /** A process inside that goes on until its standard input ends (signals reach nsenter only), or the sandbox does. */
  start(command: readonly string[]): Child {
    const [program, ...args] = this.enter(command);
    const env = { PATH: "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C.UTF-8" };
    return new Child(program, args, { stdio: ["pipe", "pipe", "pipe"], env });
  }

  /** Writes files inside: path -> content. */
  async write(files: Readonly<Record<string, string>>): Promise<void> {
    const commands = Object.entries(files).map(([path, content]) => {
      const encoded = Buffer.from(content).toString("base64");
      return `mkdir -p "$(dirname "${path}")"; base64 -d <<<"${encoded}" >"${path}"`;
    });
    await this.run(commands.join("\n"));
  }

  /** The properties of a unit, as `systemctl show` tells them. */
  async show(unit: string, ...properties: readonly string[]): Promise<Record<string, string>> {
    const lines = await this.run(`systemctl show ${unit} --property=${properties.join(",")}`);
    return Object.fromEntries(lines.split("\n").map((line) => [line.split("=", 1)[0]!, line.replace(/^[^=]*=/, "")]));
  }

  /** Waits until a unit has these properties; the error tells what it has, and the end of its journal. */
  async until(unit: string, expected: Readonly<Record<string, string>>): Promise<void> {
    let found: Record<string, string> = {};
    try {
      await until(`${unit} to have ${JSON.stringify(expected)}`, async () => {
        found = await this.show(unit, ...Object.keys(expected));
        return Object.entries(expected).every(([name, value]) => found[name] === value);
      });
    } catch (error) {
      const journal = await this.journal(unit);
      throw new Error(`${(error as Error).message}: it has ${JSON.stringify(found)}\n${journal}`);
    }
  }

  /** What a unit, and systemd about it, has said. */
  journal(unit: string, ...options: readonly string[]): Promise<string> {
    return this.run(`journalctl --sync; journalctl --no-pager --output=cat --unit=${unit} ${options.join(" ")}`);
  }
}
