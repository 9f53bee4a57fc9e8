/**
 * What becomes of a connection of an http listener, by the head of its first request. The head stays unread, as a hello
 * does; what a backend gets is the whole connection with all requests that follow.
 */
import { type AnswerName, answer, answerFor, MOST_REDIRECTED, redirect } from "../http/answers.js";
import { HeadStatus } from "../http/outcome.js";
import { ACME_CHALLENGE } from "../http/paths.js";
import { RequestHeadReader } from "../http/request-head.js";
import type { Loop } from "../native/addon.js";
import { MatchKind, NO_TARGET, RouteTable } from "../routing/table.js";
import type { AlertName } from "../tls/alerts.js";
import type { Greeting } from "./greeting.js";
import { type DoorSettings, type HttpSettings, MOST_HELLO } from "./settings.js";

const ACME_PATH = new Uint8Array(Buffer.from(ACME_CHALLENGE));
const NOTHING = new Uint8Array(0);
const CR = 0x0d;
const LF = 0x0a;

/** What `route` says beside the index of a backend. */
export const NOWHERE: number = NO_TARGET;
export const REDIRECTED: number = NO_TARGET - 1;

export class HttpIntake implements Greeting {
  readonly name: Uint8Array;
  readonly source: Uint8Array = NOTHING;
  readonly alpnOffset = 0;
  readonly alpnLength = 0;
  readonly maxVersion = 0;
  readonly ech = false;
  /** Undefined: there is no `http` section. */
  routes: RouteTable | undefined;
  /** After `route`: the table was asked. */
  isLookedUp = false;

  private readonly loop: Loop;
  private readonly head: RequestHeadReader;
  private settings: HttpSettings | undefined;
  /** By slot: how many bytes of an incomplete head were read last, and how many have no end of a head among them. */
  private readonly readBytes: Uint32Array;
  private readonly scannedBytes: Uint32Array;

  constructor(loop: Loop, capacity: number, settings: DoorSettings) {
    this.loop = loop;
    this.readBytes = new Uint32Array(capacity);
    this.scannedBytes = new Uint32Array(capacity);
    this.head = new RequestHeadReader(MOST_HELLO);
    this.name = this.head.name;
    this.configure(settings);
  }

  configure({ helloLimit, http }: DoorSettings): void {
    this.head.maxLength = Math.min(helloLimit, MOST_HELLO);
    this.settings = http;
    this.routes = http === undefined ? undefined : new RouteTable(http.routes);
  }

  get nameLength(): number {
    return this.head.nameLength;
  }

  /** Bytes of the head. */
  get length(): number {
    return this.head.length;
  }

  /** INVALID: why. */
  get reason(): RequestHeadReader["reason"] {
    return this.head.reason;
  }

  /** The slot's connection is new. */
  begin(slot: number): void {
    this.readBytes[slot] = this.scannedBytes[slot] = 0;
  }

  /** Whether the client has sent a part of a request. */
  hasBegun(slot: number): boolean {
    return this.readBytes[slot]! > 0;
  }

  /**
   * Reads the head in bytes[start..end). One that trickles in is read again when it may be complete, or has doubled: or
   * each byte of it would cost a reading of all that came before.
   */
  read(slot: number, bytes: Uint8Array, start: number, end: number): HeadStatus {
    const length = end - start;
    if (length < 2 * this.readBytes[slot]! && length < this.head.maxLength) {
      const from = Math.max(0, this.scannedBytes[slot]! - 3);
      this.scannedBytes[slot] = length;
      if (!hasHeadEnd(bytes, start + from, end)) {
        this.head.clear();
        return HeadStatus.PARTIAL;
      }
    }
    const status = this.head.read(bytes, start, end);
    this.readBytes[slot] = this.scannedBytes[slot] = status === HeadStatus.PARTIAL ? length : 0;
    return status;
  }

  /** As if no head had been read. */
  clear(): void {
    this.head.clear();
  }

  /** The backend for the head that was read last, or NOWHERE or REDIRECTED. */
  route(bytes: Uint8Array): number {
    const { head, routes, settings } = this;
    this.isLookedUp = false;
    if (settings === undefined || routes === undefined) return NOWHERE;
    if (settings.acmeChallenge >= 0 && this.isAcmeChallenge(bytes)) return settings.acmeChallenge;
    if (head.nameLength === 0) return routes.defaultTarget;
    this.isLookedUp = true;
    const target = routes.lookup(head.name, 0, head.nameLength);
    const isRedirected = settings.redirectPort > 0 && routes.matchedKind === MatchKind.DEFAULT && head.pathEnd > 0;
    return isRedirected ? REDIRECTED : target;
  }

  /** For a head that `route` sent nowhere. */
  get refusal(): AnswerName {
    // A redirect needs a name, and a path.
    return this.settings !== undefined && this.settings.redirectPort > 0 ? "bad_request" : "misdirected_request";
  }

  /** The path is longer than what is redirected. */
  get isTooLong(): boolean {
    return this.head.pathEnd - this.head.pathStart > MOST_REDIRECTED;
  }

  redirection(bytes: Uint8Array): Uint8Array {
    const { head } = this;
    const host = Buffer.from(head.name.buffer, head.name.byteOffset, head.nameLength).toString("latin1");
    return redirect(host, this.settings!.redirectPort, bytes, head.pathStart, head.pathEnd, this.loop.clock[1]!);
  }

  answer(name: AnswerName): Uint8Array {
    return answer(name, this.loop.clock[1]!);
  }

  /** What tells an HTTP client the same as this alert tells others. */
  answerTo(alert: AlertName): Uint8Array {
    return this.answer(answerFor(alert));
  }

  private isAcmeChallenge(bytes: Uint8Array): boolean {
    const { pathStart, pathEnd } = this.head;
    if (pathEnd - pathStart < ACME_PATH.length) return false;
    for (let i = 0; i < ACME_PATH.length; i++) if (bytes[pathStart + i] !== ACME_PATH[i]) return false;
    return true;
  }
}

/** Whether an empty line ends within bytes[from..end). */
function hasHeadEnd(bytes: Uint8Array, from: number, end: number): boolean {
  for (let at = from + 3; at < end; at++) {
    if (bytes[at] === LF && bytes[at - 1] === CR && bytes[at - 2] === LF && bytes[at - 3] === CR) return true;
  }
  return false;
}
