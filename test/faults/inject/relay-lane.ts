/**
 * A relay whose calls fail, with a door that hands it connections, targets, and an instance for its fallback. Clients of
 * every kind in each round:
 *
 * | server name | its targets | so that the relay |
 * |-|-|-|
 * | plain.test | one that is there | dials, copies a few bytes |
 * | bulk.test | the same | splices many, to a client that does not read meanwhile |
 * | stops.test | the same | resets, as the client reads nothing and goes: a pipe is lost with it |
 * | cut.test | the same, which resets | resets too |
 * | header.test | one that is not there, one that is | tries the next, says a PROXY header |
 * | fallback.test | one that is not there | gives the connection to an instance: by a channel that one before may have lost |
 * | gone.test | the same, without a fallback | says an alert, and parts |
 */
import { mkdirSync, writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import { fileURLToPath } from "node:url";
import type { Receiver } from "../../../src/handoff/receiver.js";
import { Child } from "../../support/child.js";
import { openDescriptors, openSockets } from "../../support/descriptors.js";
import { DoorProcess } from "../../support/door-process.js";
import { Origin } from "../../support/origin.js";
import { endOf, RawClient, type Reply } from "../../support/raw-client.js";
import { deadPort } from "../../support/relay-scene.js";
import { until } from "../../support/wait.js";
import { buildHello } from "../../tls/hello-builder.js";
import { type Case, nameOf } from "./cases.js";
import { Injector } from "./inject.js";
import { END, instance, Served } from "./instances.js";
import { inTime, type Lane, lookAtWaits } from "./suite.js";

const program = fileURLToPath(new URL("../../../dist/cli/main.js", import.meta.url));

/** How long calls fail in a round. Milliseconds. */
const OUTAGE = 120;
/** Of a round that lasts no longer: what is short is said once each 100 ms. */
const MOST_LINES = 12;
const PATIENCE = 30_000;
/** Pipes that are kept in each worker: src/relay/mover.ts. */
const MOST_PIPES = 16;

/** Of a period that no page and no pipe has: bytes in another place are other bytes. */
const pattern = (length: number) => Buffer.alloc(length, Buffer.from(Array.from({ length: 251 }, (_, i) => i)));
/** More than is copied at a time; and more than the buffers of two sockets and a pipe take. */
const QUESTION = pattern(300_000);
const ANSWER = pattern(8 << 20);
/** What a target says before it resets. */
const PART = "origin";
/** alert(2), fatal, internal_error(80). */
const ALERT = /^\x15\x03.\x00\x02\x02\x50$/s;

const NAMES = [
  ...(["plain", "plain", "bulk", "stops", "stops", "cut", "header"] as const),
  ...(["fallback", "fallback", "fallback", "gone"] as const),
] as const;

interface Client {
  readonly name: (typeof NAMES)[number];
  readonly word: string;
  readonly client: RawClient;
}

/** What may become of whom. */
type Expectation = Pick<Case, "fate" | "site" | "beside">;
const NOTHING_FAILS: Expectation = { fate: "kept", site: "", beside: undefined };

export class RelayLane implements Lane {
  private readonly served: Served = new Served();
  private readonly folder: string;
  private readonly library: string;
  private injector!: Injector;
  private relay!: Child;
  private door!: DoorProcess;
  private origin!: Origin;
  private spare!: Receiver;
  private dead = 0;
  /** What targets saw that they must not see. */
  private seen: string[] = [];
  private idle = { sockets: "", pipes: 0 };
  private words = 0;
  private starts = 0;

  constructor(folder: string, library: string) {
    this.folder = folder;
    this.library = library;
  }

  async start(): Promise<void> {
    const { folder } = this;
    mkdirSync(`${folder}/app`, { mode: 0o755 });
    this.spare = await instance(`${folder}/app/`, "spare", this.served);
    this.origin = await Origin.start((socket) => this.serve(socket));
    this.dead = await deadPort();
    await this.startRelay();
    this.door = await DoorProcess.start(folder, this.configuration("60s"));
    await this.count();
  }

  /** `hold`: of backends without a target. The door waits for the relay, which does not wait for them. */
  private configuration(hold: string): string {
    const { folder } = this;
    const there = `127.0.0.1:${this.origin.port}`;
    const missing = `127.0.0.1:${this.dead}`;
    return `control: ${folder}/control.sock
relay: { start: false, folder: "${folder}/relay/" }
backends:
  plain: { relay: "${there}", hold: 60s }
  header: { relay: ["${missing}", "${there}"], hold: 60s, proxyProtocol: v2 }
  fallback: { relay: "${missing}", hold: ${hold}, fallback: app }
  gone: { relay: "${missing}", hold: ${hold} }
  app: { handoff: "${folder}/app/", hold: 60s }
routes: { plain.test: plain, bulk.test: plain, stops.test: plain, cut.test: plain, header.test: header, fallback.test: fallback, gone.test: gone }
`;
  }

  private async startRelay(): Promise<void> {
    const file = `${this.folder}/relay.yaml`;
    writeFileSync(file, `listeners: [{ address: "127.0.0.1:0" }]\nworkers: 1\n${this.configuration("0s")}`);
    this.injector = new Injector(this.library, `${this.folder}/faults-${this.starts++}`, "sni_handoff.node");
    const env = { ...process.env, ...this.injector.environment };
    this.relay = new Child(process.execPath, [program, "relay", "--config", file], { env });
    await this.relay.line("the relay to be ready", (line) => line.includes('"event":"relay.ready"'));
  }

  /** What both have open when nothing is under way. */
  private async count(): Promise<void> {
    for (const name of ["plain", "header", "fallback", "gone", "app"]) await this.door.instances(name, 1);
    // The first delivery opens the channel, which stays.
    await this.next([]);
    let last = "";
    // A moment's quiet: the copies of that connection are closed.
    await until("quiet", async () => {
      const isQuiet = this.sockets() === last;
      last = this.sockets();
      await new Promise((resolve) => setTimeout(resolve, 200));
      return isQuiet && this.sockets() === last;
    });
    this.idle = { sockets: last, pipes: this.pipes() };
  }

  private pipes(): number {
    return openDescriptors(this.relay.pid).filter((each) => each.startsWith("pipe:")).length;
  }

  private sockets(): string {
    return `${openSockets(this.relay.pid)} and ${openSockets(this.door.pid)}`;
  }

  /** A target: the words say what it does. */
  private serve(socket: Socket): void {
    const parts: Buffer[] = [];
    let tail = "";
    let isWhole = false;
    socket.on("end", () => {
      if (parts.length > 0 && !isWhole && endOf(socket) === "FIN")
        this.seen.push(`the end behind ${Buffer.concat(parts).length} bytes of more`);
      socket.end();
    });
    socket.on("data", (data) => {
      parts.push(data);
      tail = (tail + data.toString("latin1")).slice(-40);
      if (!tail.endsWith(END)) return;
      isWhole = true;
      const [, word, name] = / (([a-z]+)\d+) END\n$/.exec(tail)!;
      this.served.add(word!);
      if (name === "cut") {
        socket.write(PART, () => socket.resetAndDestroy());
        return;
      }
      if (name === "bulk") {
        const end = -` ${word}${END}`.length;
        if (
          !Buffer.concat(parts)
            .subarray(end - QUESTION.length, end)
            .equals(QUESTION)
        )
          this.seen.push("other bytes");
      }
      if (name === "bulk" || name === "stops") socket.write(ANSWER);
      socket.end(`origin ${word}\n`);
    });
  }

  async round(tried: Case, stretch: number): Promise<{ failed: number; wrong: string[] }> {
    const wrong: string[] = [];
    const { injector } = this;
    const from = this.relay.lines.length;
    const waitsBefore = injector.waits;
    const armed = tried.beside === undefined ? [tried] : [tried, tried.beside];
    for (const { site, errno, pattern } of armed) injector.arm(site, errno, pattern);
    const begun = performance.now();
    const clients: Client[] = [];
    for (const name of NAMES) clients.push(await this.client(name));
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, OUTAGE * stretch - (performance.now() - begun))));
    const [failed, failedBeside] = armed.map(({ site }) => injector.disarm(site).failed);
    const lasted = performance.now() - begun;
    wrong.push(...lookAtWaits(waitsBefore, injector.waits, lasted));

    for (const { name, client } of clients) {
      if (name === "stops") client.close();
      else client.socket.resume();
    }
    const mayEnd = failed! + (failedBeside ?? 0);
    let ended = 0;
    for (const client of clients) ended += await this.judge(client, tried, wrong);
    if (ended > mayEnd) wrong.push(`${ended} clients were ended by ${mayEnd} failures`);
    this.lookAtLog(from, inTime(MOST_LINES, lasted), tried.fate === "kept" ? 0 : mayEnd, wrong);
    if (!this.relay.running) await this.startAgain(wrong);
    await this.next(wrong);
    await this.settle(wrong);
    wrong.push(...this.seen.splice(0).map((what) => `a target saw ${what}`));
    return { failed: failed!, wrong: wrong.map((each) => `${nameOf(tried)}: ${each}`) };
  }

  /** Nothing fails any more: it works as before, and opens again what had to be closed. */
  private async next(wrong: string[]): Promise<void> {
    await this.judge(await this.client("fallback"), NOTHING_FAILS, wrong);
  }

  private async client(name: Client["name"]): Promise<Client> {
    const word = `${name}${++this.words}`;
    const client = await RawClient.connect(this.door.port);
    const isSlow = name === "bulk" || name === "stops";
    if (isSlow) client.socket.pause();
    // It goes when it has all, or is refused.
    else client.reply.then(() => client.close());
    const question = name === "bulk" ? [QUESTION] : [];
    client.send(
      Buffer.concat([buildHello({ serverName: `${name}.test` }), ...question, Buffer.from(` ${word}${END}`)]),
    );
    return { name, word, client };
  }

  /** Returns 1 if the client was ended before it was served. */
  private async judge(one: Client, expected: Expectation, wrong: string[]): Promise<0 | 1> {
    const { client, name, word } = one;
    if (name === "stops") return 0;
    let reply: Reply | undefined;
    client.reply.then((known) => {
      reply = known;
    });
    await until("the end", () => reply !== undefined || !this.relay.running, PATIENCE).catch(() => {});
    client.close();
    if (reply === undefined) {
      const { bytesRead } = client.socket;
      wrong.push(
        `the client of ${name}.test got no end, but ${bytesRead} bytes; it was served ${this.served.of(word)} times`,
      );
      return 0;
    }
    const { received, end } = reply;
    const text = received.subarray(-40).toString("latin1");
    const count = this.served.of(word);
    const what = `the client of ${name}.test got ${received.length} bytes, at last ${JSON.stringify(text)}, and ${end}; it was served ${count} times`;
    const isRefused = ALERT.test(text) && end === "FIN";
    if (name === "gone") {
      const isRight = (isRefused && count === 0) || concerns(expected, ofRefusal);
      if (count > 0 || (!isRight && expected.fate === "kept")) wrong.push(what);
      return isRight ? 0 : 1;
    }
    const answer = Buffer.from(`${name === "fallback" ? "spare" : "origin"} ${word}\n`);
    const whole = name === "bulk" ? Buffer.concat([ANSWER, answer]) : answer;
    if (name !== "cut" && end === "FIN" && count === 1 && received.equals(whole)) return 0;
    // Bytes that were under way may be lost with the connection; but a stream that was cut off must not look whole.
    const looksWhole = end === "FIN" && received.length > 0 && !isRefused && !concerns(expected, ofReset);
    const mayBeEnded = name === "cut" || expected.fate === "ended";
    if (count > 1 || looksWhole || !mayBeEnded) wrong.push(what);
    return name === "cut" ? 0 : 1;
  }

  private lookAtLog(from: number, most: number, mostDefects: number, wrong: string[]): void {
    const lines = this.relay.lines.slice(from).filter((line) => /"level":"(warn|error|fatal)"/.test(line));
    const others = lines.filter((line) => !line.includes('"event":"target.failed"'));
    const defects = lines.filter((line) => line.includes('"event":"connection.defect"'));
    if (others.length > most) wrong.push(`${others.length} lines in the log, such as ${others[0]}`);
    if (defects.length > mostDefects) wrong.push(`a defect: ${defects[0]}`);
  }

  /** The sockets of both are as before. */
  private async settle(wrong: string[]): Promise<void> {
    await until("sockets", () => this.sockets() === this.idle.sockets, PATIENCE).catch(() => {
      wrong.push(`the relay and the door have ${this.sockets()} sockets, and had ${this.idle.sockets} before`);
    });
    const pipes = this.pipes();
    if (pipes > this.idle.pipes + 2 * MOST_PIPES) wrong.push(`the relay has ${pipes} ends of pipes`);
  }

  private async startAgain(wrong: string[]): Promise<void> {
    wrong.push(`the relay died: ${this.relay.lines.at(-1)} ${this.relay.stderr.slice(0, 2000)}`);
    this.injector.close();
    await this.startRelay();
  }

  async end(): Promise<string[]> {
    const { status, signal } = await this.relay.end("SIGTERM");
    await this.door.stop();
    await this.spare.close({ timeout: 0 });
    await this.origin.close();
    this.injector.close();
    return status === 0 ? [] : [`the relay ended with ${status ?? signal}: ${this.relay.stderr}`];
  }
}

/** What the relay says to a client that it refuses: without that the client may see another end. */
const ofRefusal = ["recv", "send", "shutdown", "setsockopt_linger", "epoll_ctl_add", "close"];
/** Without it a reset cannot be asked for: the kernel says FIN, where nothing was left to be read. */
const ofReset = ["setsockopt_linger"];

function concerns({ site, beside }: Expectation, sites: readonly string[]): boolean {
  return sites.includes(site) || (beside !== undefined && sites.includes(beside.site));
}
