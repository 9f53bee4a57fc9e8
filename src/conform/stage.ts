/** What a rule works with. Everything that it opens is closed when the rule has ended. */
import { MessageType } from "../handoff/layout.js";
import { type Field, type Header, messageBytes, neededFields } from "./bytes.js";
import type { Channel, Handed } from "./channel.js";
import type { Connection, Connections } from "./connection.js";
import type { Options } from "./options.js";
import { flagsOf } from "./probe.js";
import type { Receiver } from "./receiver.js";
import { Broken } from "./rule.js";
import { eventually } from "./wait.js";

/** Milliseconds. */
const MOMENT = 500;

export class Stage {
  readonly options: Options;
  readonly receiver: Receiver;
  private readonly connections: Connections;
  private readonly opened: { dispose(): void }[] = [];
  /** What was handed over, as proc(5) shows it, and what it was. */
  readonly given: Map<string, string> = new Map();
  /** As `given`, of the rules before this one that were kept. */
  readonly givenBefore: ReadonlyMap<string, string>;

  constructor(
    options: Options,
    receiver: Receiver,
    connections: Connections,
    givenBefore: ReadonlyMap<string, string>,
  ) {
    this.options = options;
    this.receiver = receiver;
    this.connections = connections;
    this.givenBefore = givenBefore;
  }

  get timeout(): number {
    return this.options.timeout;
  }

  /** A channel that READY was not waited for on. */
  dial(): Channel {
    const channel = this.receiver.dial();
    this.opened.push({ dispose: () => channel.close() });
    return channel;
  }

  /** A channel whose receiver has said READY. */
  async channel(first?: number): Promise<Channel> {
    const channel = this.dial();
    if (first !== undefined) channel.next = first;
    await channel.ready();
    return channel;
  }

  /** A connection whose client has said its first bytes. */
  async connection(from: Connections = this.connections): Promise<Connection> {
    const connection = await this.silentConnection(from);
    connection.begin(this.options.probe, this.options.serverName);
    return connection;
  }

  /** A connection whose client has begun to speak, and goes on when the function that comes with it is called. */
  async halfConnection(): Promise<{ connection: Connection; goOn: () => void }> {
    const connection = await this.silentConnection();
    let goOn!: () => void;
    const told = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    connection.begin(this.options.probe, this.options.serverName, told);
    return { connection, goOn };
  }

  /** A connection whose client has said nothing. */
  async silentConnection(from: Connections = this.connections): Promise<Connection> {
    const connection = await from.open();
    this.opened.push(connection);
    this.given.set(connection.identity, "a TCP connection");
    return connection;
  }

  async severalConnections(count: number): Promise<Connection[]> {
    return Promise.all(Array.from({ length: count }, () => this.connection()));
  }

  /** The receiver's command is run again. Throws `Broken` if it does not listen. */
  async restart(): Promise<void> {
    try {
      await this.receiver.start();
    } catch (error) {
      throw new Broken("the receiver to start again", (error as Error).message);
    }
  }

  /** To be called when the rule ends, with everything else. */
  dispose(dispose: () => void): void {
    this.opened.push({ dispose });
  }

  /** The bytes of a HANDOFF of this run's kind of client. */
  handoff(sequence: number, fields: readonly Field[] = [], header: Header = {}): Buffer {
    return messageBytes([...neededFields(flagsOf[this.options.probe]), ...fields], {
      type: MessageType.HANDOFF,
      sequence,
      ...header,
    });
  }

  /** Hands a connection over by the rules. */
  hand(channel: Channel, connection: Connection, fields: readonly Field[] = []): Handed {
    return channel.hand(connection, (sequence) => this.handoff(sequence, fields));
  }

  /** Each of these clients gets its answer. */
  async answered(...connections: readonly Connection[]): Promise<void> {
    for (const [index, connection] of connections.entries()) {
      const which = connections.length === 1 ? "the client" : `client ${index + 1} of ${connections.length}`;
      await eventually(() => connection.answer !== undefined, this.timeout);
      if (connection.answer === "answered") continue;
      throw new Broken(`an answer to ${which} (${this.options.probe})`, connection.answer ?? "none in time");
    }
  }

  /** The receiver has none of these open any more. */
  async closed(what: ReadonlyMap<string, string>): Promise<void> {
    let left = [...what.keys()];
    await eventually(() => {
      left = this.receiver.holding(left);
      return left.length === 0;
    }, this.timeout);
    if (left.length === 0) return;
    const one = left[0]!;
    const more = left.length === 1 ? "" : `, and ${left.length - 1} more`;
    throw new Broken(`${what.get(one)} to be closed`, `it is open still (${one})${more}`);
  }

  /** Nobody has acknowledged these, or read from them, or written to them. */
  untouched(...connections: readonly Connection[]): void {
    for (const { descriptor, isWhole, answer } of connections) {
      const got = descriptor < 0 ? "an ACK" : (answer ?? (isWhole ? undefined : "it was read from"));
      if (got !== undefined) throw new Broken("that nobody takes the connection, reads from it, or writes to it", got);
    }
  }

  /** Of many connections this one is not needed any more. */
  done(connection: Connection): void {
    connection.dispose();
    const index = this.opened.lastIndexOf(connection);
    if (index >= 0) this.opened.splice(index, 1);
  }

  /**
   * `untouched`, of what the receiver may have in its hands still: looks until all its copies are closed, or for a moment
   * where it keeps them, or what it has open cannot be seen.
   */
  async leftAlone(...connections: readonly Connection[]): Promise<void> {
    const identities = connections.map(({ identity }) => identity);
    await eventually(() => this.isClosed(identities) || connections.some(({ isWhole }) => !isWhole), MOMENT);
    this.untouched(...connections);
  }

  private isClosed(identities: readonly string[]): boolean {
    try {
      return this.receiver.holding(identities).length === 0;
    } catch {
      return false; // not to be seen
    }
  }

  /** On no channel of this run the receiver has broken `rule`. */
  never(rule: string, expected: string): void {
    const violation = this.receiver.violations.find((each) => each.rule === rule);
    if (violation !== undefined) throw new Broken(expected, violation.got);
  }

  close(): void {
    for (const each of this.opened.reverse()) each.dispose();
    this.opened.length = 0;
  }
}
