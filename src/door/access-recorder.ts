/**
 * The worker's side of the access log: keeps what the hello of a connection said until its end, and writes an event then,
 * if the settings want one. Nothing is allocated for a connection, but for memory for the notes of so many at once as
 * there have not been before.
 */

import { ADDRESS_BYTES } from "../addresses.js";
import type { Loop } from "../native/addon.js";
import type { RouteTable } from "../routing/table.js";
import { type EventFacts, Outcome, writeEvent } from "./access-events.js";
import { RingWriter } from "./byte-ring.js";
import { type Connections, Mark, NOBODY } from "./connections.js";
import type { Greeting } from "./greeting.js";
import type { RuleMatcher } from "./rule-matcher.js";
import type { AccessLogSettings, DoorSettings } from "./settings.js";

/** A slot's notes of texts: the name and the protocol, at most 255 bytes each. */
const TEXT_BYTES = 512;
/** Slots a page of notes: low slots are used first. */
const PAGE = 1 << 10;

const HANDED_OVER = Outcome.handed_over;
const ANSWERED = Outcome.answered;
const LOST = Outcome.lost;
const RECORDED = Mark.RECORDED;
const HTTP = Mark.HTTP;

export class AccessRecorder {
  /** Whether anything is recorded: without it `noteHello` and `noteRoute` need not be called. */
  isOn: boolean = false;
  private readonly loop: Loop;
  private readonly connections: Connections;
  private readonly ring: RingWriter;
  private settings: AccessLogSettings = { mode: "off", sample: 1 };
  /** Handed over since the last one that was recorded. */
  private passed: number = 0;

  /** Generation of the connection that a slot's notes are about, + 1; 0: none. */
  private readonly notedOf: Uint32Array;
  private readonly helloAt: Float64Array;
  private readonly tlsVersion: Uint16Array;
  private readonly ech: Uint8Array;
  /** The kind + 1; 0: none was looked up. */
  private readonly routeKind: Uint8Array;
  private readonly routeLength: Uint8Array;
  /** Index + 1; 0: none. */
  private readonly routeRule: Uint8Array;
  private readonly routePattern: Uint16Array;
  private readonly nameLength: Uint8Array;
  private readonly alpnLength: Uint8Array;
  private readonly texts: (Uint8Array | undefined)[];

  /** Filled for each event and written at once. */
  private readonly facts: EventFacts;

  constructor(memory: SharedArrayBuffer, loop: Loop, connections: Connections) {
    this.loop = loop;
    this.connections = connections;
    this.ring = new RingWriter(memory);
    const { capacity } = connections;
    this.notedOf = new Uint32Array(capacity);
    this.helloAt = new Float64Array(capacity);
    this.tlsVersion = new Uint16Array(capacity);
    this.ech = new Uint8Array(capacity);
    this.routeKind = new Uint8Array(capacity);
    this.routeLength = new Uint8Array(capacity);
    this.routeRule = new Uint8Array(capacity);
    this.routePattern = new Uint16Array(capacity);
    this.nameLength = new Uint8Array(capacity);
    this.alpnLength = new Uint8Array(capacity);
    this.texts = new Array(Math.ceil(capacity / PAGE)).fill(undefined);
    this.facts = {
      generation: 0,
      acceptedAt: 0,
      idLow: 0,
      idHigh: 0,
      addresses: connections.address,
      addressStart: 0,
      proxies: connections.proxy,
      isProxied: false,
      listener: 0,
      isHttp: false,
      hello: connections.address,
      helloStart: 0,
      nameLength: 0,
      alpnLength: 0,
      tlsVersion: 0,
      ech: false,
      routeKind: -1,
      routeLength: 0,
      routeRule: -1,
      routePattern: -1,
      backend: 0,
      pid: 0,
      outcome: 0,
      reason: 0,
      waited: 0,
      held: 0,
      handoff: 0,
      total: 0,
    };
  }

  configure(settings: DoorSettings): void {
    this.settings = settings.accessLog;
    this.isOn = settings.accessLog.mode !== "off";
    this.facts.generation = settings.generation;
  }

  /** Keeps what has just been read of the connection's hello (or request), which is complete (or wrong). */
  noteHello(slot: number, reader: Greeting): void {
    const generation = (this.connections.generation[slot]! + 1) >>> 0;
    if (this.notedOf[slot] !== generation) {
      this.notedOf[slot] = generation;
      this.helloAt[slot] = this.loop.clock[0]!;
    }
    const { nameLength, alpnLength } = reader;
    this.tlsVersion[slot] = reader.maxVersion;
    this.ech[slot] = reader.ech ? 1 : 0;
    this.routeKind[slot] = 0;
    this.routeLength[slot] = this.routeRule[slot] = this.routePattern[slot] = 0;
    this.nameLength[slot] = nameLength;
    this.alpnLength[slot] = alpnLength;
    if (nameLength + alpnLength === 0) return;
    const texts = this.page(slot);
    let at = (slot % PAGE) * TEXT_BYTES;
    const { name, source } = reader;
    for (let i = 0; i < nameLength; i++) texts[at++] = name[i]!;
    for (let i = reader.alpnOffset, end = i + alpnLength; i < end; i++) texts[at++] = source[i]!;
  }

  private page(slot: number): Uint8Array {
    const index = Math.floor(slot / PAGE);
    this.texts[index] ??= new Uint8Array(PAGE * TEXT_BYTES);
    return this.texts[index];
  }

  /** Keeps which route the table has just found, after `noteHello`. */
  noteRoute(slot: number, routes: RouteTable): void {
    this.routeKind[slot] = routes.matchedKind + 1;
    this.routeLength[slot] = routes.matchedLength;
  }

  /** The same of what the rules have just decided. */
  noteRule(slot: number, { kind, length, rule, pattern }: RuleMatcher): void {
    this.routeKind[slot] = kind + 1;
    this.routeLength[slot] = length;
    this.routeRule[slot] = rule + 1;
    this.routePattern[slot] = pattern + 1;
  }

  /**
   * The connection's end: `outcome` is an index of `outcomes`, `reason` one of `reasons`. Its slot is still its own. Only
   * the first call for a connection counts.
   */
  record(slot: number, outcome: number, reason: number): void {
    if (!this.isOn || ((outcome === HANDED_OVER || outcome === ANSWERED) && !this.wantsServed())) return;
    const { connections, facts, loop } = this;
    if ((connections.marks[slot]! & RECORDED) !== 0) return;
    connections.marks[slot]! |= RECORDED;
    const now = loop.clock[0]!;
    const acceptedAt = connections.acceptedAt[slot]!;
    const isNoted = this.notedOf[slot] === (connections.generation[slot]! + 1) >>> 0;
    facts.acceptedAt = (connections.acceptedAtHigh[slot]! * 0x100000000 + connections.acceptedAtLow[slot]!) / 1_000_000;
    facts.idLow = connections.idLow[slot]!;
    facts.idHigh = connections.idHigh[slot]!;
    facts.addressStart = slot * ADDRESS_BYTES;
    facts.isProxied = connections.consumed[slot] !== 0 && connections.proxy[facts.addressStart] !== 0;
    facts.listener = connections.listener[slot]!;
    facts.isHttp = (connections.marks[slot]! & HTTP) !== 0;
    facts.nameLength = isNoted ? this.nameLength[slot]! : 0;
    facts.alpnLength = isNoted ? this.alpnLength[slot]! : 0;
    if (facts.nameLength + facts.alpnLength > 0) {
      facts.hello = this.page(slot);
      facts.helloStart = (slot % PAGE) * TEXT_BYTES;
    }
    facts.tlsVersion = isNoted ? this.tlsVersion[slot]! : 0;
    facts.ech = isNoted && this.ech[slot] === 1;
    facts.routeKind = (isNoted ? this.routeKind[slot]! - 1 : -1) as EventFacts["routeKind"];
    facts.routeLength = isNoted ? this.routeLength[slot]! : 0;
    facts.routeRule = isNoted ? this.routeRule[slot]! - 1 : -1;
    facts.routePattern = isNoted ? this.routePattern[slot]! - 1 : -1;
    facts.backend = connections.backend[slot]!;
    facts.pid = outcome === HANDED_OVER || outcome === LOST ? connections.pid[slot]! : NOBODY;
    facts.outcome = outcome;
    facts.reason = reason;
    facts.total = now - acceptedAt;
    facts.waited = isNoted ? this.helloAt[slot]! - acceptedAt : facts.total;
    facts.held = connections.heldFor[slot]!;
    facts.handoff = outcome === HANDED_OVER ? now - connections.sentAt[slot]! : 0;
    writeEvent(this.ring, facts);
  }

  /** Those that got what they came for. */
  private wantsServed(): boolean {
    switch (this.settings.mode) {
      case "all":
        return true;
      case "sample":
        if (++this.passed < this.settings.sample) return false;
        this.passed = 0;
        return true;
      default:
        return false;
    }
  }
}
