/**
 * A door whose calls fail, with all that it needs: instances of every kind, and clients of every kind in each round.
 *
 * | server name | its backend | so that the door |
 * |-|-|-|
 * | whole.test, split.test | an instance | examines at once; waits for the rest of a hello |
 * | refused.test | is `overloaded` until the calls fail no more | is refused, looks at what comes back, holds it |
 * | late.test | has its instance while calls fail | holds, connects a channel |
 * | stalled.test | one instance that takes nothing, one that does | takes back, revokes, hands over again |
 * | unknown.test | none | says an alert, and parts |
 * | reset.test | `reject: reset` | resets |
 */
import { mkdirSync } from "node:fs";
import type { Receiver } from "../../../src/handoff/receiver.js";
import { openSockets } from "../../support/descriptors.js";
import { DoorProcess, type LogLine } from "../../support/door-process.js";
import { RawClient, type Reply } from "../../support/raw-client.js";
import { until } from "../../support/wait.js";
import { buildHello } from "../../tls/hello-builder.js";
import { type Case, nameOf } from "./cases.js";
import { Injector } from "./inject.js";
import { END, instance, Served, StalledInstance } from "./instances.js";
import { inTime, type Lane, lookAtWaits } from "./suite.js";

/** How long calls fail in a round. Milliseconds. */
const OUTAGE = 120;
/** Lines above "info" that a round may bring, beside those that it would bring without failures. */
const MOST_LINES = 12;
const PATIENCE = 30_000;

/** alert(2), fatal, unrecognized_name(112). */
const ALERT = /^\x15\x03.\x00\x02\x02\x70$/s;

interface Client {
  readonly name: string;
  readonly word: string;
  readonly client: RawClient;
}

export class DoorLane implements Lane {
  readonly served: Served = new Served();
  private readonly folder: string;
  private readonly library: string;
  private readonly receivers: Receiver[] = [];
  private injector!: Injector;
  private door!: DoorProcess;
  private idle = 0;
  private isOverloaded = false;
  private words = 0;
  private starts = 0;

  constructor(folder: string, library: string) {
    this.folder = folder;
    this.library = library;
  }

  async start(): Promise<void> {
    const { folder } = this;
    for (const name of ["app", "late", "stalled"]) mkdirSync(`${folder}/${name}`, { recursive: true, mode: 0o755 });
    this.receivers.push(await instance(`${folder}/app/`, "app", this.served));
    this.receivers.push(await instance(`${folder}/stalled/`, "stalled", this.served));
    this.receivers.push(await instance(`${folder}/refused.sock`, "refused", this.served, () => this.isOverloaded));
    await this.startDoor();
  }

  private async startDoor(): Promise<void> {
    const { folder } = this;
    this.injector = new Injector(this.library, `${folder}/faults-${this.starts++}`, "sni_handoff.node");
    const configuration = `control: ${folder}/control.sock
backends:
  app: { handoff: "${folder}/app/", hold: 60s }
  refused: { handoff: "${folder}/refused.sock", hold: 60s }
  late: { handoff: "${folder}/late/", hold: 60s }
  stalled: { handoff: "${folder}/stalled/", hold: 60s, acknowledgeTimeout: 50ms }
  reset: { reject: reset }
routes: { whole.test: app, split.test: app, refused.test: refused, late.test: late, stalled.test: stalled, reset.test: reset }
`;
    this.door = await DoorProcess.start(folder, configuration, { prefix: this.injector.prefix });
    for (const name of ["app", "refused", "stalled"]) await this.door.instances(name, 1);
    this.idle = openSockets(this.door.pid);
  }

  /** One case: what is wrong with what came of it. */
  async round(tried: Case, stretch: number): Promise<{ failed: number; wrong: string[] }> {
    const wrong: string[] = [];
    const from = this.door.child.lines.length;
    const waitsBefore = this.injector.waits;
    this.isOverloaded = true;
    const stalled = new StalledInstance(`${this.folder}/stalled`);
    const stalledReady = (line: LogLine) => String(line.path).includes("/stalled-");
    await this.door.event("channel.ready", stalledReady, from);

    this.injector.arm(tried.site, tried.errno, tried.pattern);
    const begun = performance.now();
    const clients: Client[] = [];
    for (const name of ["whole", "whole", "refused", "late", "stalled", "stalled", "unknown", "reset"]) {
      clients.push(await this.client(name));
    }
    const split = await this.client("split", true);
    clients.push(split);
    await new Promise((resolve) => setTimeout(resolve, 10));
    this.finish(split);
    const late = await instance(`${this.folder}/late/`, "late", this.served);
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, OUTAGE * stretch - (performance.now() - begun))));
    const { failed } = this.injector.disarm(tried.site);
    const lasted = performance.now() - begun;
    wrong.push(...lookAtWaits(waitsBefore, this.injector.waits, lasted));
    this.isOverloaded = false;
    // The copies in its queue keep a connection that the door has ended from being seen to end.
    if (tried.fate === "ended") stalled.close();

    let ended = 0;
    for (const client of clients) {
      const reply = await this.replyTo(client, wrong);
      if (reply !== undefined) ended += this.judge(client, reply, tried, wrong);
    }
    if (tried.fate === "ended" && ended > failed) wrong.push(`${ended} clients were ended by ${failed} failures`);
    this.lookAtLog(from, inTime(MOST_LINES, lasted), tried, failed, wrong);
    await late.close({ timeout: 0 });
    if (tried.fate === "kept") stalled.close();
    for (const { client } of clients) client.close();
    if (this.door.running) await this.settle(wrong);
    else await this.startAgain(wrong);
    return { failed, wrong: wrong.map((each) => `${nameOf(tried)}: ${each}`) };
  }

  private async client(name: string, isSplit = false): Promise<Client> {
    const word = `w${++this.words}`;
    const client = await RawClient.connect(this.door.port);
    const hello = buildHello({ serverName: `${name}.test` });
    client.send(isSplit ? hello.subarray(0, 20) : Buffer.concat([hello, Buffer.from(` ${word}${END}`)]));
    return { name, word, client };
  }

  private finish({ client, name, word }: Client): void {
    client.send(
      Buffer.concat([buildHello({ serverName: `${name}.test` }).subarray(20), Buffer.from(` ${word}${END}`)]),
    );
  }

  private async replyTo({ client, name }: Client, wrong: string[]): Promise<Reply | undefined> {
    let reply: Reply | undefined;
    client.reply.then((known) => {
      reply = known;
    });
    await until("the end", () => reply !== undefined || !this.door.running, PATIENCE).catch(() => {});
    if (reply === undefined)
      wrong.push(`the client of ${name}.test got no end${this.door.running ? "" : ": the door died"}`);
    return reply;
  }

  /** Returns 1 if the client was ended and not served. */
  private judge({ name, word }: Client, { received, end }: Reply, tried: Case, wrong: string[]): 0 | 1 {
    const text = received.toString("latin1");
    const count = this.served.of(word);
    const what = `the client of ${name}.test got ${JSON.stringify(text)} and ${end}`;
    if (name === "reset" || name === "unknown") {
      const isRight = name === "reset" ? text === "" && end === "ECONNRESET" : ALERT.test(text) && end === "FIN";
      if (count > 0) wrong.push(`${what}, and was served`);
      else if (!isRight && tried.fate === "kept" && !isOfTheEnd(tried.site)) wrong.push(what);
      return isRight || isOfTheEnd(tried.site) ? 0 : 1;
    }
    const backend = name === "whole" || name === "split" ? "app" : name;
    if (text === `${backend} ${word}\n` && end === "FIN" && count === 1) return 0;
    if (count > 0 || text.includes(word)) wrong.push(`${what}; it was served ${count} times`);
    else if (tried.fate === "kept") wrong.push(what);
    return 1;
  }

  private lookAtLog(from: number, most: number, tried: Case, failed: number, wrong: string[]): void {
    const lines = this.linesFrom(from).filter(({ level }) => level !== "debug" && level !== "info");
    const expected = new Set(["channel.stalled", "channel.revoked"]);
    const others = lines.filter(({ event }) => !expected.has(event));
    const defects = lines.filter(({ event }) => event.endsWith(".defect"));
    if (others.length > most) wrong.push(`${others.length} lines in the log, such as ${JSON.stringify(others[0])}`);
    const allowed = tried.fate === "kept" ? 0 : failed;
    if (defects.length > allowed) wrong.push(`a defect: ${JSON.stringify(defects[0])}`);
  }

  private linesFrom(from: number): LogLine[] {
    const lines = this.door.child.lines.slice(from).filter((line) => line.startsWith("{"));
    return lines.map((line) => JSON.parse(line) as LogLine);
  }

  /** Its descriptors are as before. */
  private async settle(wrong: string[]): Promise<void> {
    const { pid } = this.door;
    const isIdle = () => !this.door.running || openSockets(pid) === this.idle;
    await until("its sockets", isIdle, PATIENCE).catch(() => {
      wrong.push(`it has ${openSockets(pid)} sockets, and had ${this.idle} before`);
      this.idle = openSockets(pid);
    });
  }

  private async startAgain(wrong: string[]): Promise<void> {
    const last = this.door.log.at(-1);
    wrong.push(`the door died: ${JSON.stringify(last)} ${this.door.child.stderr.slice(0, 2000)}`);
    this.injector.close();
    await this.startDoor();
  }

  /** SIGTERM: what is wrong with its end. */
  async end(): Promise<string[]> {
    const { status, signal } = await this.door.child.end("SIGTERM");
    for (const receiver of this.receivers) await receiver.close({ timeout: 0 });
    this.injector.close();
    return status === 0 ? [] : [`the door ended with ${status ?? signal}: ${this.door.child.stderr}`];
  }
}

/** What the door says to a client that it refuses: without that the client may see another end. */
function isOfTheEnd(site: string): boolean {
  return ["recv", "send", "shutdown", "setsockopt_linger", "epoll_ctl_add", "close"].includes(site);
}
