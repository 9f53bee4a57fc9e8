/**
 * What became of connections, one event each, in a ring of shared memory (byte-ring.ts): one worker writes, the control
 * plane reads. The layout of an event is in this file only.
 */

import { ADDRESS_BYTES, type Address, readAddress } from "../addresses.js";
import { HEAD_FAULTS } from "../http/outcome.js";
import { INVALID_HEADER_REASONS, type InvalidHeaderReason } from "../proxy-protocol/index.js";
import type { MatchKind } from "../routing/match.js";
import { INVALID_REASONS } from "../tls/outcome.js";
import { createRing, RingReader, type RingWriter } from "./byte-ring.js";
import { counterNames } from "./counters.js";

export const outcomes = [
  /** An instance acknowledged it. */
  "handed_over",
  /** The door ended it. */
  "refused",
  /** The client closed before it was handed over. */
  "client_gone",
  /** The hello was not complete in time. */
  "timeout",
  /** An instance had touched it and did not take it, or the door has a defect. */
  "lost",
  /** It was given to the successor in an upgrade. */
  "passed_on",
  /** The door itself gave the answer that was asked for: a redirect. */
  "answered",
] as const;

export type OutcomeName = (typeof outcomes)[number];

/** Index of each outcome. */
export const Outcome = Object.fromEntries(outcomes.map((name, index) => [name, index])) as Readonly<
  Record<OutcomeName, number>
>;

/** Why a PROXY header is refused, beside its being malformed: the peer sent something else, or ended in the middle of it. */
const HEADER_REASONS = ["proxy_missing", "proxy_torn"] as const;

export type HeaderReason = InvalidHeaderReason | (typeof HEADER_REASONS)[number];

/** In words, for whoever runs the balancer. */
export function explainHeader(reason: HeaderReason): string {
  switch (reason) {
    case "proxy_missing":
      return "a connection from an address of acceptProxyProtocol begins without a PROXY header: turn it on there, or take the address out";
    case "proxy_torn":
      return "a PROXY header did not come to its end";
    default:
      return `a PROXY header is malformed (${reason.slice("proxy_".length).replaceAll("_", " ")})`;
  }
}

/**
 * Why: nothing to say, the counter that counted it, what is wrong with the hello (tls/outcome.ts), with the PROXY header
 * (proxy-protocol/outcome.ts), or with the request's head (http/outcome.ts).
 */
export const reasons = [
  "",
  ...counterNames,
  ...INVALID_REASONS,
  ...INVALID_HEADER_REASONS,
  ...HEADER_REASONS,
  ...HEAD_FAULTS,
  "http_path_too_long",
] as const;

/** Index of each reason. */
export const Reason = Object.fromEntries(reasons.map((name, index) => [name, index])) as Readonly<
  Record<(typeof reasons)[number], number>
>;

/** `matchedPattern` (routing/match.ts) gives the text. */
export interface MatchedRoute {
  /** -1: none was looked up. */
  readonly kind: MatchKind | -1;
  readonly length: number;
  /** Index of the rule, if the route has several; else -1. */
  readonly rule: number;
  /** Index of the pattern; -1: the route is none. */
  readonly pattern: number;
}

export interface AccessEvent {
  /** Of the settings that were in force at the end. */
  readonly generation: number;
  /** Milliseconds since 1970, with fractions. */
  readonly acceptedAt: number;
  /** Decimal u64: the id that the instance was given too. */
  readonly connectionId: string;
  /** Undefined if it is not known. */
  readonly client: Address | undefined;
  /** Who told the client in a PROXY header; undefined if nobody did. */
  readonly proxy: Address | undefined;
  /** Index among the worker's listeners in that generation; -1: one that is gone, or taken over from the predecessor. */
  readonly listener: number;
  readonly protocol: "tls" | "http";
  /** Lower case ASCII as the parser leaves it, of HTTP the host; "": none, or not read. */
  readonly serverName: string;
  /** The first protocol that the client offered, one character a byte (latin1), unsanitised; "" if it offered none. */
  readonly alpn: string;
  /** Highest that the client offered, 0x0304 for TLS 1.3; 0 if unknown. */
  readonly tlsVersion: number;
  /** It has an encrypted_client_hello extension. */
  readonly ech: boolean;
  readonly route: MatchedRoute;
  /** Index in the settings of that generation; -1: none. */
  readonly backend: number;
  /** Of the instance that has it, or had it when it was lost; -1: none. */
  readonly pid: number;
  readonly outcome: OutcomeName;
  readonly reason: string;
  /** Milliseconds, as all that follow: from accept until the hello was complete, or the end. */
  readonly waited: number;
  /** How long it was kept for want of an instance. */
  readonly held: number;
  /** From being sent to being acknowledged. */
  readonly handoff: number;
  readonly total: number;
}

// Places in an event, in bytes from its start, which is at a multiple of 8.
const ACCEPTED_AT = 0;
const WAITED = 8;
const HELD = 16;
const HANDOFF = 24;
const TOTAL = 32;
const ID_LOW = 40;
const ID_HIGH = 44;
const GENERATION = 48;
const BACKEND = 52;
const PID = 56;
const LISTENER = 60;
const ADDRESS = 64;
const TLS_VERSION = 84;
const OUTCOME = 86;
const REASON = 87;
/** The kind + 1. */
const ROUTE_KIND = 88;
const ROUTE_LENGTH = 89;
/** Bits: ECH; HTTP; a PROXY header told the client, and the packed address of who sent it follows the texts. */
const FLAGS = 90;
const FLAG_ECH = 1;
const FLAG_PROXIED = 2;
const FLAG_HTTP = 4;
const NAME_LENGTH = 91;
const ALPN_LENGTH = 92;
/** Index + 1. */
const ROUTE_RULE = 93;
/** Index + 1, two bytes. */
const ROUTE_PATTERN = 94;
/** The name, then the protocol. */
const NAME = 96;

const DEFAULT_BYTES = 1 << 20;

/** Shared memory for one worker's events: `bytes` is a power of two. An event takes about 130. */
export function createAccessRing(bytes: number = DEFAULT_BYTES): SharedArrayBuffer {
  return createRing(bytes);
}

/** Reads one worker's events. */
export class AccessReader {
  private readonly ring: RingReader;
  private readonly text: Buffer;

  constructor(memory: SharedArrayBuffer) {
    this.ring = new RingReader(memory);
    this.text = Buffer.from(memory);
  }

  /** Calls `each` for at most `most` events, oldest first. Returns how many there were. */
  read(each: (event: AccessEvent) => void, most: number = Number.POSITIVE_INFINITY): number {
    let count = 0;
    for (; count < most; count++) {
      const at = this.ring.next();
      if (at < 0) break;
      const event = this.decode(at);
      this.ring.release();
      each(event);
    }
    return count;
  }

  /** Events that were dropped so far, because they were not read in time. */
  get dropped(): number {
    return this.ring.dropped;
  }

  private decode(at: number): AccessEvent {
    const { bytes, words, doubles } = this.ring;
    const word = (place: number) => words[(at + place) >> 2]!;
    const double = (place: number) => doubles[(at + place) >> 3]!;
    const id = (BigInt(word(ID_HIGH) >>> 0) << 32n) | BigInt(word(ID_LOW) >>> 0);
    const nameEnd = at + NAME + bytes[at + NAME_LENGTH]!;
    const alpnEnd = nameEnd + bytes[at + ALPN_LENGTH]!;
    const flags = bytes[at + FLAGS]!;
    return {
      generation: word(GENERATION) >>> 0,
      acceptedAt: double(ACCEPTED_AT),
      connectionId: id.toString(),
      client: readAddress(bytes, at + ADDRESS),
      proxy: (flags & FLAG_PROXIED) === 0 ? undefined : readAddress(bytes, alpnEnd),
      listener: word(LISTENER),
      protocol: (flags & FLAG_HTTP) !== 0 ? "http" : "tls",
      serverName: this.text.toString("latin1", at + NAME, nameEnd),
      alpn: this.text.toString("latin1", nameEnd, alpnEnd),
      tlsVersion: bytes[at + TLS_VERSION]! | (bytes[at + TLS_VERSION + 1]! << 8),
      ech: (flags & FLAG_ECH) !== 0,
      route: {
        kind: (bytes[at + ROUTE_KIND]! - 1) as MatchKind | -1,
        length: bytes[at + ROUTE_LENGTH]!,
        rule: bytes[at + ROUTE_RULE]! - 1,
        pattern: (bytes[at + ROUTE_PATTERN]! | (bytes[at + ROUTE_PATTERN + 1]! << 8)) - 1,
      },
      backend: word(BACKEND),
      pid: word(PID),
      outcome: outcomes[bytes[at + OUTCOME]!]!,
      reason: reasons[bytes[at + REASON]!]!,
      waited: double(WAITED),
      held: double(HELD),
      handoff: double(HANDOFF),
      total: double(TOTAL),
    };
  }
}

/** One event's facts, filled anew for each. */
export interface EventFacts {
  generation: number;
  acceptedAt: number;
  idLow: number;
  idHigh: number;
  /** The packed address is addresses[addressStart..addressStart + 20). */
  addresses: Uint8Array;
  addressStart: number;
  /** Of who told it in a PROXY header: likewise, from proxies[addressStart]; `isProxied` says whether anybody did. */
  proxies: Uint8Array;
  isProxied: boolean;
  listener: number;
  isHttp: boolean;
  /** The name, then the protocol, from hello[helloStart]. */
  hello: Uint8Array;
  helloStart: number;
  nameLength: number;
  alpnLength: number;
  tlsVersion: number;
  ech: boolean;
  routeKind: MatchKind | -1;
  routeLength: number;
  routeRule: number;
  routePattern: number;
  backend: number;
  pid: number;
  outcome: number;
  reason: number;
  waited: number;
  held: number;
  handoff: number;
  total: number;
}

/** Writes an event, or counts it as dropped. Allocates nothing. */
export function writeEvent(ring: RingWriter, facts: EventFacts): void {
  const texts = facts.nameLength + facts.alpnLength;
  const length = NAME + texts + (facts.isProxied ? ADDRESS_BYTES : 0);
  const at = ring.reserve(length);
  if (at < 0) return;
  const { bytes, words, doubles } = ring;
  doubles[(at + ACCEPTED_AT) >> 3] = facts.acceptedAt;
  doubles[(at + WAITED) >> 3] = facts.waited;
  doubles[(at + HELD) >> 3] = facts.held;
  doubles[(at + HANDOFF) >> 3] = facts.handoff;
  doubles[(at + TOTAL) >> 3] = facts.total;
  words[(at + ID_LOW) >> 2] = facts.idLow;
  words[(at + ID_HIGH) >> 2] = facts.idHigh;
  words[(at + GENERATION) >> 2] = facts.generation;
  words[(at + BACKEND) >> 2] = facts.backend;
  words[(at + PID) >> 2] = facts.pid;
  words[(at + LISTENER) >> 2] = facts.listener;
  for (let i = 0; i < ADDRESS_BYTES; i++) bytes[at + ADDRESS + i] = facts.addresses[facts.addressStart + i]!;
  bytes[at + TLS_VERSION] = facts.tlsVersion;
  bytes[at + TLS_VERSION + 1] = facts.tlsVersion >>> 8;
  bytes[at + OUTCOME] = facts.outcome;
  bytes[at + REASON] = facts.reason;
  bytes[at + ROUTE_KIND] = facts.routeKind + 1;
  bytes[at + ROUTE_LENGTH] = facts.routeLength;
  bytes[at + ROUTE_RULE] = facts.routeRule + 1;
  bytes[at + ROUTE_PATTERN] = facts.routePattern + 1;
  bytes[at + ROUTE_PATTERN + 1] = (facts.routePattern + 1) >>> 8;
  const { ech, isHttp, isProxied } = facts;
  bytes[at + FLAGS] = (ech ? FLAG_ECH : 0) | (isProxied ? FLAG_PROXIED : 0) | (isHttp ? FLAG_HTTP : 0);
  bytes[at + NAME_LENGTH] = facts.nameLength;
  bytes[at + ALPN_LENGTH] = facts.alpnLength;
  for (let i = 0; i < texts; i++) bytes[at + NAME + i] = facts.hello[facts.helloStart + i]!;
  if (facts.isProxied) {
    const place = at + NAME + texts;
    for (let i = 0; i < ADDRESS_BYTES; i++) bytes[place + i] = facts.proxies[facts.addressStart + i]!;
  }
  ring.commit(length);
}
