/**
 * A relay whose calls fail, with a door that hands it connections, targets, and an instance for its fallback.
 *
 * | server name | its targets | so that the relay |
 * |-|-|-|
 * | plain.test | one that is there | dials, copies a few bytes |
 * | bulk.test | the same | splices many |
 * | header.test | one that is not there, one that is | tries the next, says a PROXY header |
 * | fallback.test | one that is not there | gives the connection to an instance |
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
import { RawClient, type Reply } from "../../support/raw-client.js";
import { deadPort } from "../../support/relay-scene.js";
import { until } from "../../support/wait.js";
import { buildHello } from "../../tls/hello-builder.js";
import { type Case, nameOf } from "./cases.js";
import { Injector } from "./inject.js";
import { END, instance, Served } from "./instances.js";
import type { Lane } from "./suite.js";

const program = fileURLToPath(new URL("../../../dist/cli/main.js", import.meta.url));

/** How long calls fail in a round, and most waits for events of all threads in that time. Milliseconds. */
const OUTAGE = 120;
const MOST_TURNS = 1500;
const MOST_LINES = 12;
const PATIENCE = 30_000;
/** More than a socket's buffers take at once. */
const BULK = Buffer.alloc(400_000, "bulk");
/** alert(2), fatal, internal_error(80). */
const ALERT = /^\x15\x03.\x00\x02\x02\x50$/s;
const NAMES = ["plain", "plain", "bulk", "header", "fallback", "gone"] as const;

interface Client {
  readonly name: (typeof NAMES)[number];
  readonly word: string;
  readonly client: RawClient;
}

export class RelayLane implements Lane {
  private readonly served: Served = new Served();
  private readonly folder: string;
  private readonly library: string;
  private injector!: Injector;
  private relay!: Child;
  private door!: DoorProcess;
  private origin!: Origin;
  private spare!: Receiver;
  private configuration = "";
  private idle = { relay: 0, door: 0 };
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
    const dead = await deadPort();
    const there = `127.0.0.1:${this.origin.port}`;
    this.configuration = `control: ${folder}/control.sock
relay: { start: false, folder: "${folder}/relay/" }
backends:
  plain: { relay: "${there}", hold: 60s }
  header: { relay: ["127.0.0.1:${dead}", "${there}"], hold: 60s, proxyProtocol: v2 }
  fallback: { relay: "127.0.0.1:${dead}", hold: 0s, fallback: app }
  gone: { relay: "127.0.0.1:${dead}", hold: 0s }
  app: { handoff: "${folder}/app/", hold: 60s }
routes: { plain.test: plain, bulk.test: plain, header.test: header, fallback.test: fallback, gone.test: gone }
`;
    await this.startRelay();
    this.door = await DoorProcess.start(folder, this.configuration);
    await this.count();
  }

  private async startRelay(): Promise<void> {
    const file = `${this.folder}/relay.yaml`;
    writeFileSync(file, `listeners: [{ address: "127.0.0.1:0" }]\nworkers: 1\n${this.configuration}`);
    this.injector = new Injector(this.library, `${this.folder}/faults-${this.starts++}`, "sni_handoff.node");
    const env = { ...process.env, ...this.injector.environment };
    this.relay = new Child(process.execPath, [program, "relay", "--config", file], { env });
    await this.relay.line("the relay to be ready", (line) => line.includes('"event":"relay.ready"'));
  }

  /** What both have open when nothing is under way. */
  private async count(): Promise<void> {
    for (const name of ["plain", "header", "fallback", "gone"]) await this.door.instances(name, 1);
    // The channel of the fallback's deliveries stays open: the first one opens it.
    const client = await this.client("fallback");
    await client.client.reply;
    client.client.close();
    await until("it to be handed over", () => this.served.of(client.word) === 1, PATIENCE);
    let last = "";
    // A moment's quiet: the copies of that connection are closed.
    await until("quiet", async () => {
      const now = this.open().join();
      const isQuiet = now === last;
      last = now;
      await new Promise((resolve) => setTimeout(resolve, 200));
      return isQuiet;
    });
    const [relay, door] = this.open();
    this.idle = { relay: relay!, door: door! };
  }

  private open(): number[] {
    return [openSockets(this.relay.pid), openSockets(this.door.pid)];
  }

  /** A target: as the instances, and bulk for bulk. */
  private serve(socket: Socket): void {
    const parts: Buffer[] = [];
    socket.on("end", () => socket.end());
    socket.on("data", (data) => {
      parts.push(data);
      if (data.subarray(-END.length).toString() !== END) return;
      const all = Buffer.concat(parts);
      const word = /(\w+) END\n$/.exec(all.subarray(-40).toString("latin1"))![1]!;
      this.served.add(word);
      if (all.length > BULK.length) socket.write(BULK);
      socket.end(`origin ${word}\n`);
    });
  }

  async round(tried: Case): Promise<{ failed: number; wrong: string[] }> {
    const wrong: string[] = [];
    const from = this.relay.lines.length;
    const turnsBefore = this.injector.turns;
    if (tried.beside !== undefined) this.injector.arm(tried.beside.site, tried.beside.errno, tried.beside.pattern);
    this.injector.arm(tried.site, tried.errno, tried.pattern);
    const begun = performance.now();
    const clients: Client[] = [];
    for (const name of NAMES) clients.push(await this.client(name));
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, OUTAGE - (performance.now() - begun))));
    const { failed } = this.injector.disarm(tried.site);
    if (tried.beside !== undefined) this.injector.disarm(tried.beside.site);
    const turns = this.injector.turns - turnsBefore;
    const lasted = Math.round(performance.now() - begun);

    const most = Math.ceil((MOST_TURNS * lasted) / OUTAGE);
    if (turns > most) wrong.push(`it waited for events ${turns} times within ${lasted} ms: a busy loop`);
    let ended = 0;
    for (const client of clients) ended += await this.judge(client, tried, wrong);
    if (ended > failed) wrong.push(`${ended} clients were ended by ${failed} failures`);
    this.lookAtLog(from, tried, failed, wrong);
    for (const { client } of clients) client.close();
    if (this.relay.running) await this.settle(wrong);
    else await this.startAgain(wrong);
    return { failed, wrong: wrong.map((each) => `${nameOf(tried)}: ${each}`) };
  }

  private async client(name: Client["name"]): Promise<Client> {
    const word = `w${++this.words}`;
    const client = await RawClient.connect(this.door.port);
    const hello = buildHello({ serverName: `${name}.test` });
    client.send(Buffer.concat([hello, ...(name === "bulk" ? [BULK] : []), Buffer.from(` ${word}${END}`)]));
    return { name, word, client };
  }

  /** Returns 1 if the client was ended before it was served. */
  private async judge({ client, name, word }: Client, tried: Case, wrong: string[]): Promise<0 | 1> {
    let reply: Reply | undefined;
    client.reply.then((known) => {
      reply = known;
    });
    await until("the end", () => reply !== undefined, PATIENCE).catch(() => {});
    if (reply === undefined) {
      wrong.push(`the client of ${name}.test got no end`);
      return 0;
    }
    const { received, end } = reply;
    const text = received.subarray(-40).toString("latin1");
    const count = this.served.of(word);
    const what = `the client of ${name}.test got ${received.length} bytes, at last ${JSON.stringify(text)}, and ${end}; it was served ${count} times`;
    if (name === "gone") {
      const isRight = ALERT.test(text) && end === "FIN" && count === 0;
      if (count > 0 || (!isRight && tried.fate === "kept" && !isOfTheEnd(tried.site))) wrong.push(what);
      return isRight || isOfTheEnd(tried.site) ? 0 : 1;
    }
    const answer = `${name === "fallback" ? "spare" : "origin"} ${word}\n`;
    const length = answer.length + (name === "bulk" ? BULK.length : 0);
    if (text.endsWith(answer) && received.length === length && end === "FIN" && count === 1) return 0;
    // Bytes that were under way may be lost with the connection; but a stream that was cut off must not look whole.
    if (count > 1 || (received.length > 0 && end === "FIN" && !ALERT.test(text))) wrong.push(what);
    else if (tried.fate === "kept") wrong.push(what);
    return 1;
  }

  private lookAtLog(from: number, tried: Case, failed: number, wrong: string[]): void {
    const lines = this.relay.lines.slice(from).filter((line) => /"level":"(warn|error|fatal)"/.test(line));
    const others = lines.filter((line) => !line.includes('"event":"target.failed"'));
    const defects = lines.filter((line) => line.includes(".defect"));
    if (others.length > MOST_LINES) wrong.push(`${others.length} lines in the log, such as ${others[0]}`);
    if (defects.length > (tried.fate === "kept" ? 0 : failed)) wrong.push(`a defect: ${defects[0]}`);
  }

  /** Descriptors of both are as before, pipes apart: some are kept. */
  private async settle(wrong: string[]): Promise<void> {
    const { relay, door } = this.idle;
    const isIdle = () => !this.relay.running || this.open().join() === `${relay},${door}`;
    await until("sockets", isIdle, PATIENCE).catch(() => {
      wrong.push(`the relay and the door have ${this.open()} sockets, and had ${relay},${door} before`);
    });
    if (!this.relay.running) return;
    const pipes = openDescriptors(this.relay.pid).filter((each) => each.startsWith("pipe:")).length;
    if (pipes > 2 * 64) wrong.push(`the relay has ${pipes} ends of pipes`);
  }

  private async startAgain(wrong: string[]): Promise<void> {
    wrong.push(`the relay died: ${this.relay.lines.at(-1)} ${this.relay.stderr.slice(0, 2000)}`);
    this.injector.close();
    await this.startRelay();
    await this.settle(wrong);
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
function isOfTheEnd(site: string): boolean {
  return ["recv", "send", "shutdown", "setsockopt_linger", "epoll_ctl_add", "close"].includes(site);
}
