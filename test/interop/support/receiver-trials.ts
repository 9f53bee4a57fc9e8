/**
 * What every receiver must stand, of whatever language: the rules of the protocol, ten thousand clients, and being
 * killed and restarted under load. The front door is the real one, and so are the clients.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { rules } from "../../../src/conform/rules/index.js";
import type { CounterName } from "../../../src/door/counters.js";
import { type Certificate, certificate } from "../../support/certificates.js";
import { Child } from "../../support/child.js";
import { openSockets } from "../../support/descriptors.js";
import type { LogLine } from "../../support/door-process.js";
import { program } from "../../support/programs.js";
import { Scene } from "../../support/scene.js";
import { until } from "../../support/wait.js";
import { type Asked, Curls } from "./curls.js";
import { type ReceiverFiles, ReceiverProcess, type ReceiverProgram } from "./receiver-process.js";

export type { ReceiverFiles, ReceiverProgram };

const command = fileURLToPath(new URL("../../../dist/cli/main.js", import.meta.url));
const NAME = "app.test";
const WORKERS = 2;

/** Declares all of them as tests. */
export function receiverTrials(receiver: ReceiverProgram): void {
  describe(receiver.name, () => {
    it("keeps every rule of the protocol", () => conformance(receiver));
    it("serves 10,000 clients", () => tenThousand(receiver));
    it("is killed, and restarted, under load: no client notices", () => restartedUnderLoad(receiver));
  });
}

/** `sni-handoff conform` starts it, and finds no rule broken and none that could not be tried. */
export async function conformance(receiver: ReceiverProgram): Promise<void> {
  const scene = new Scene();
  try {
    const files = await filesFor(receiver, scene);
    const start = receiver.command(files).map(quoted).join(" ");
    const args = ["conform", "--path", files.socket, "--start", start, "--server-name", NAME, "--probe", "tls"];
    if (receiver.stopSignal !== undefined) args.push("--stop-signal", receiver.stopSignal.slice("SIG".length));
    const kit = new Child(process.execPath, [command, ...args], receiver.options);
    const { status } = await kit.ended;
    const said = `${kit.lines.join("\n")}\n${kit.stderr}`;
    // A rule that could not be tried is `ok N - name # SKIP reason`.
    expect(kit.lines.filter((line) => /^ok \d+ - \S+ # (?!SKIP)/.test(line)).length, said).toBe(rules.length);
    expect(status, said).toBe(0);
  } finally {
    await scene.end();
  }
}

/** 10,000 HTTPS requests, each over a connection of its own: every answer tells its own client, and nothing is left open. */
export async function tenThousand(receiver: ReceiverProgram, requests = 10_000): Promise<void> {
  await onStage(receiver, async (stage) => {
    const { scene } = stage;
    // Runtimes open some descriptors when they are first needed.
    const first = await stage.curls(64).done();
    expectServed(receiver, first);
    await scene.doorHas(0);
    const idle = { door: openSockets(scene.door.pid), receiver: await stage.idleDescriptors() };

    const asked = await stage.curls(requests).done();
    expectServed(receiver, asked);
    expect(asked).toHaveLength(requests);
    await until("the receiver's descriptors to be as before", () => stage.receiver.descriptors === idle.receiver);
    await until("the door's descriptors to be as before", () => openSockets(scene.door.pid) === idle.door);

    const all = first.length + requests;
    expect(await scene.counters()).toMatchObject({ ...untroubled, accepted: all, acknowledged: all });
    expect(await stage.receiver.stop(receiver.stopSignal)).toEqual({ status: 0, signal: null });
  });
}

/** HTTP/2, by h2load through the door: 2,000 requests in 20 connections. */
export async function speaksHttp2(receiver: ReceiverProgram): Promise<void> {
  await onStage(receiver, async (stage) => {
    const load = new Child(program("h2load"), [
      ...["-n", "2000", "-c", "20", "-m", "10", "--connect-to", `127.0.0.1:${stage.scene.door.port}`],
      `https://${NAME}/`,
    ]);
    expect(await load.ended).toEqual({ status: 0, signal: null });
    const said = load.lines.join("\n");
    expect(said).toContain("Application protocol: h2");
    expect(said).toContain("2000 succeeded, 0 failed, 0 errored, 0 timeout");
    expect(await stage.scene.counters()).toMatchObject({ ...untroubled, accepted: 20, acknowledged: 20 });
    expect(await stage.receiver.stop(receiver.stopSignal)).toEqual({ status: 0, signal: null });
  });
}

export interface Restarts {
  /** In order, while clients ask without a pause: no request fails. Default 4. */
  readonly stopped?: number;
  /** By SIGKILL meanwhile: only those fail whose connections it had. Default 3. */
  readonly killed?: number;
  /** By SIGKILL with clients in its queue, and in the door for want of room there: no request fails. Default 3. */
  readonly killedFrozen?: number;
}

export async function restartedUnderLoad(receiver: ReceiverProgram, restarts: Restarts = {}): Promise<void> {
  const { stopped = 4, killed = 3, killedFrozen = 3 } = restarts;
  await onStage(receiver, async (stage) => {
    // Between two restarts so many requests pass.
    const stride = 160;
    const curls = stage.curls(stride * (stopped + killed + 1));
    const cutOff = new Set<string>();
    for (let i = 0; i < stopped + killed; i++) {
      await curls.passed(stride * i + stride / 2);
      // One is stopped, one is killed, as long as there are both to do.
      if (i >= 2 * Math.min(stopped, killed) ? stopped > killed : i % 2 === 0) {
        expect(await stage.receiver.stop(receiver.stopSignal)).toEqual({ status: 0, signal: null });
      } else {
        await stage.receiver.freeze();
        for (const client of stage.receiver.clients) cutOff.add(client);
        await stage.receiver.kill();
      }
      await stage.start();
    }
    const asked = await curls.done();
    // Whoever is killed takes along the connections that it owned.
    expectServed(
      receiver,
      asked.filter(({ client }) => !cutOff.has(client)),
    );
    expect(asked.filter(({ failure }) => failure === undefined).length).toBeGreaterThanOrEqual(
      asked.length - cutOff.size,
    );

    // More than the windows of all channels hold.
    const burst = 400;
    for (let i = 0; i < killedFrozen; i++) {
      await stage.channels();
      await until("the clients before to be gone", () => stage.receiver.clients.size === 0);
      await stage.receiver.freeze();
      const load = new Child(program("h2load"), [
        ...["--h1", "-n", `${burst}`, "-c", `${burst}`, "--connect-to", `127.0.0.1:${stage.scene.door.port}`],
        `https://${NAME}/`,
      ]);
      await until("the door to have all clients", () => stage.scene.clientsOfDoor >= burst);
      await stage.receiver.kill();
      await stage.start();
      expect(await load.ended).toEqual({ status: 0, signal: null });
      const summary = load.lines.find((line) => line.startsWith("requests:"));
      expect(summary).toContain(`${burst} succeeded, 0 failed, 0 errored, 0 timeout`);
    }

    const accepted = asked.length + burst * killedFrozen;
    const counters = await stage.scene.counters();
    expect(counters).toMatchObject({ ...untroubled, accepted, acknowledged: accepted });
    if (killedFrozen > 0) expect(counters.redelivered).toBeGreaterThan(0); // they were in its queue
  });
}

/** A scene with a receiver and a door in front of it. */
class Stage {
  readonly scene: Scene;
  receiver!: ReceiverProcess;
  private readonly program: ReceiverProgram;
  private readonly files: ReceiverFiles;
  private readonly loads: Curls[] = [];

  constructor(program: ReceiverProgram, scene: Scene, files: ReceiverFiles) {
    this.program = program;
    this.scene = scene;
    this.files = files;
  }

  private get channelCount(): number {
    return WORKERS * (this.program.sockets ?? 1);
  }

  async open(): Promise<void> {
    await this.start();
    await this.scene.startDoor(
      `backends: { app: { handoff: "${this.files.socket}", hold: 50s } }\nroutes: { ${NAME}: app }\n`,
      { workers: WORKERS, channels: this.channelCount },
    );
  }

  async start(): Promise<void> {
    this.receiver = await ReceiverProcess.start(this.program, this.files);
  }

  /** Resolves when all workers of the door have a channel to the receiver that runs now. */
  async channels(): Promise<void> {
    const { pids } = this.receiver;
    const isToIt = ({ event, pid }: LogLine) => event === "channel.ready" && pids.includes(pid as number);
    await until("all channels", () => this.scene.door.log.filter(isToIt).length >= this.channelCount);
  }

  curls(requests: number): Curls {
    const curls = new Curls({ port: this.scene.door.port, name: NAME, certificateFile: this.files.cert, requests });
    this.loads.push(curls);
    return curls;
  }

  /** The receiver's, once it has no client any more. */
  async idleDescriptors(): Promise<number> {
    await until("the clients before to be gone", () => this.receiver.clients.size === 0);
    return this.receiver.descriptors;
  }

  async end(): Promise<void> {
    for (const load of this.loads) await load.kill();
    await this.receiver?.kill();
    await this.scene.end();
  }
}

async function onStage(receiver: ReceiverProgram, play: (stage: Stage) => Promise<void>): Promise<void> {
  const scene = new Scene();
  const stage = new Stage(receiver, scene, await filesFor(receiver, scene));
  try {
    await stage.open();
    await play(stage);
  } finally {
    await stage.end();
  }
}

/** What the door counts of connections that did not go as they should. */
const untroubled: Partial<Record<CounterName, number>> = {
  hold_timeout: 0,
  lost_after_read: 0,
  client_gone: 0,
  defect: 0,
};

async function filesFor({ inFolder = false }: ReceiverProgram, scene: Scene): Promise<ReceiverFiles> {
  const socket = inFolder ? `${scene.folder}/app/` : scene.at("app");
  if (inFolder) mkdirSync(socket, { mode: 0o755 });
  const files = { socket, cert: `${scene.folder}/cert.pem`, key: `${scene.folder}/key.pem` };
  const { cert, key }: Certificate = await certificate(NAME);
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key);
  return files;
}

function expectServed(receiver: ReceiverProgram, asked: readonly Asked[]): void {
  const all = troubles(receiver, asked);
  const [first, second, third] = all;
  if (first === undefined) return;
  throw new Error(`${all.length} of ${asked.length} requests went wrong: ${[first, second, third].join("; ")}`);
}

/** What is wrong with these requests. */
function troubles({ seen = addressAndPort }: ReceiverProgram, asked: readonly Asked[]): string[] {
  return asked.flatMap(({ client, status, body, failure }) => {
    if (failure !== undefined) return [`${client}: curl says ${failure}`];
    if (status !== 200) return [`${client}: status ${status}`];
    const address = seen(body);
    const isRight = address === client || (address !== undefined && client.startsWith(`${address}:`));
    return isRight ? [] : [`${client}: the answer tells ${address}: ${body}`];
  });
}

function addressAndPort(body: string): string | undefined {
  return /\S+:\d+$/.exec(body)?.[0];
}

/** For sh(1). */
function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
