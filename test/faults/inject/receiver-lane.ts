/**
 * A receiver whose calls fail, with a door that hands it connections. A second instance takes what
 * it gives back, so that no client may be lost.
 */
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { MessageType } from "../../../src/handoff/layout.js";
import type { Receiver } from "../../../src/handoff/receiver.js";
import { Child } from "../../support/child.js";
import { openSockets } from "../../support/descriptors.js";
import { DoorProcess } from "../../support/door-process.js";
import { FakeDoor, handoffBytes } from "../../support/fake-door.js";
import { RawClient, type Reply } from "../../support/raw-client.js";
import { until } from "../../support/wait.js";
import { buildHello } from "../../tls/hello-builder.js";
import { type Case, nameOf } from "./cases.js";
import { Injector } from "./inject.js";
import { END, instance, Served } from "./instances.js";
import { type Lane, lookAtWaits } from "./suite.js";

/** A program that receives: as fixtures/receiver.mjs. */
export interface Subject {
  readonly command: readonly string[];
  /** The last part of the name of the object whose calls fail. */
  readonly object: string;
  /** Whether SIGUSR2 makes it overloaded, and then not any more. */
  readonly canBeOverloaded: boolean;
  /** More variables, by the folder that it listens in and the injector's library. */
  environment?(folder: string, library: string): Readonly<Record<string, string>>;
}

export const nodeLibrary: Subject = {
  command: [process.execPath, fileURLToPath(new URL("../fixtures/receiver.mjs", import.meta.url))],
  object: "sni_handoff.node",
  canBeOverloaded: true,
};

/** How long calls fail in a round. Milliseconds. */
const OUTAGE = 150;
/** Warnings that a round may bring: each cause is told once. */
const MOST_WARNINGS = 4;
const PATIENCE = 30_000;
/** It gets so much more than the other one. */
const WEIGHT = 8;
const GONE = ["EPIPE", "ECONNRESET", "ENOTCONN"];

interface Client {
  readonly word: string;
  readonly client: RawClient;
}

export class ReceiverLane implements Lane {
  private readonly served: Served = new Served();
  private readonly subject: Subject;
  private readonly folder: string;
  private readonly library: string;
  private injector!: Injector;
  private child!: Child;
  private path = "";
  private door!: DoorProcess;
  private spare!: Receiver;
  private words = 0;
  private starts = 0;
  private idle = "";

  constructor(subject: Subject, folder: string, library: string) {
    this.subject = subject;
    this.folder = folder;
    this.library = library;
  }

  async start(): Promise<void> {
    mkdirSync(`${this.folder}/app`, { mode: 0o755 });
    this.spare = await instance(`${this.folder}/app/`, "spare", this.served);
    await this.startReceiver();
    const configuration = `backends: { app: { handoff: "${this.folder}/app/", hold: 60s } }\nroutes: { app.test: app }\n`;
    this.door = await DoorProcess.start(this.folder, configuration);
    await this.door.instances("app", 2);
    this.idle = this.sockets();
  }

  private sockets(): string {
    return `${openSockets(this.child.pid)} and ${openSockets(this.door.pid)}`;
  }

  private async startReceiver(): Promise<void> {
    this.injector = new Injector(this.library, `${this.folder}/faults-${this.starts++}`, this.subject.object);
    const more = this.subject.environment?.(`${this.folder}/app/`, this.library);
    const env = { ...process.env, ...this.injector.environment, ...more };
    const [command, ...args] = this.subject.command;
    this.child = new Child(command!, [...args, `${this.folder}/app/`, String(WEIGHT)], { env });
    this.path = await this.child.line("the receiver", (line) => line.startsWith('{"ready"') && JSON.parse(line).ready);
    this.child.stderr = "";
  }

  /** One case: what is wrong with what came of it. */
  async round(tried: Case, stretch: number): Promise<{ failed: number; wrong: string[] }> {
    const wrong: string[] = [];
    const from = this.child.lines.length;
    const waitsBefore = this.injector.waits;
    if (tried.beside !== undefined) this.injector.arm(tried.beside.site, tried.beside.errno, tried.beside.pattern);
    this.injector.arm(tried.site, tried.errno, tried.pattern);
    const begun = performance.now();
    const clients: Client[] = [];
    for (let i = 0; i < 4; i++) clients.push(await this.client());
    const stranger = new FakeDoor(this.path);
    // Without its descriptor: there is something to refuse.
    stranger.send(handoffBytes());
    new FakeDoor(this.path).close();
    await this.toggle(wrong);
    for (let i = 0; i < 4; i++) clients.push(await this.client());
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, OUTAGE * stretch - (performance.now() - begun))));
    const { failed } = this.injector.disarm(tried.site);
    if (tried.beside !== undefined) this.injector.disarm(tried.beside.site);
    const lasted = performance.now() - begun;
    wrong.push(...lookAtWaits(waitsBefore, this.injector.waits, lasted));
    await this.toggle(wrong);

    let ended = 0;
    for (const client of clients) ended += await this.judge(client, from, tried, wrong);
    if (ended > failed) wrong.push(`${ended} clients were ended by ${failed} failures`);
    // The stranger's channel is greeted sooner or later, and what it sent refused; or it was closed.
    const isRefused = () => stranger.received.some(({ type }) => type === MessageType.REFUSE);
    // Told that a door is gone, a receiver says nothing more to it: it waits for the channel's end.
    const isAnswered = () => stranger.ended || GONE.includes(tried.errno) || isRefused();
    await until("an answer", () => isAnswered() || !this.child.running, PATIENCE).catch(() => {
      wrong.push(`a new channel got ${JSON.stringify(stranger.received)}`);
    });
    stranger.close();
    this.lookAtWarnings(from, wrong);
    for (const { client } of clients) client.close();
    if (this.child.running) await this.settle(wrong);
    else await this.startAgain(wrong);
    return { failed, wrong: wrong.map((each) => `${nameOf(tried)}: ${each}`) };
  }

  /** Makes it overloaded, or not any more. */
  private async toggle(wrong: string[]): Promise<void> {
    if (!this.child.running || !this.subject.canBeOverloaded) return;
    const from = this.child.lines.length;
    process.kill(this.child.pid, "SIGUSR2");
    await this.child
      .line("its word", (line) => line.startsWith('{"overloaded"'), from)
      .catch((error: Error) => wrong.push(error.message));
  }

  private async client(): Promise<Client> {
    const word = `w${++this.words}`;
    const client = await RawClient.connect(this.door.port);
    client.send(Buffer.concat([buildHello({ serverName: "app.test" }), Buffer.from(` ${word}${END}`)]));
    return { word, client };
  }

  /** Returns 1 if the client was ended and not served. */
  private async judge({ client, word }: Client, from: number, tried: Case, wrong: string[]): Promise<0 | 1> {
    let reply: Reply | undefined;
    client.reply.then((known) => {
      reply = known;
    });
    await until("the end", () => reply !== undefined, PATIENCE).catch(() => {});
    if (reply === undefined) {
      wrong.push("a client got no end");
      return 0;
    }
    const text = reply.received.toString("latin1");
    const bySpare = this.served.of(word);
    const said = () => this.child.lines.slice(from).filter((line) => line === `{"served":"${word}"}`).length;
    // It says so before it answers, by another way.
    if (text.startsWith("injected")) await until("its word", () => said() > 0, PATIENCE).catch(() => {});
    const byInjected = said();
    const name = byInjected === 1 ? "injected" : "spare";
    if (bySpare + byInjected === 1 && text === `${name} ${word}\n` && reply.end === "FIN") return 0;
    if (bySpare + byInjected === 0 && text === "" && tried.fate === "ended") return 1;
    wrong.push(
      `a client got ${JSON.stringify(text)} and ${reply.end}; it was served by ${byInjected} and ${bySpare} (the other one)`,
    );
    return 0;
  }

  private lookAtWarnings(from: number, wrong: string[]): void {
    const warnings = this.child.lines.slice(from).filter((line) => line.startsWith('{"warning"'));
    warnings.push(...this.child.stderr.split("\n").filter(Boolean));
    if (warnings.length > MOST_WARNINGS) wrong.push(`${warnings.length} warnings: ${warnings.join(" ")}`);
    if (this.child.running) this.child.stderr = "";
  }

  /** Its descriptors, and the door's channels, are as before. */
  private async settle(wrong: string[]): Promise<void> {
    await until("its sockets", () => !this.child.running || this.sockets() === this.idle, PATIENCE).catch(() => {
      wrong.push(`it and the door have ${this.sockets()} sockets, and had ${this.idle} before`);
    });
  }

  private async startAgain(wrong: string[]): Promise<void> {
    wrong.push(`the receiver died: ${this.child.stderr.slice(0, 2000)}`);
    this.injector.close();
    await this.startReceiver();
    await this.settle(wrong);
  }

  /** SIGTERM: what is wrong with its end. */
  async end(): Promise<string[]> {
    const { status, signal } = await this.child.end("SIGTERM");
    await this.spare.close({ timeout: 0 });
    await this.door.stop();
    this.injector.close();
    return status === 0 ? [] : [`the receiver ended with ${status ?? signal}: ${this.child.stderr}`];
  }
}
