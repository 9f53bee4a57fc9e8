/** A target: its addresses, how it does, and what is counted of it. */
import { native } from "../native/addon.js";
import type { RelayTargetSettings, RelayTargetStatus, TargetAddress } from "./settings.js";
import { TARGET_STATS, TargetStat } from "./target-stats.js";

/** How long a target rests after its first failure in a row, and at most. Milliseconds. */
const FIRST_REST = 1000;
const LONGEST_REST = 30_000;

/** One address, as it is dialed. */
export interface Endpoint {
  readonly text: string;
  /** A sockaddr; undefined for a unix socket. */
  readonly socketAddress: Uint8Array | undefined;
  readonly path: string;
}

/** The number of a target's row that nothing is counted in: it is configured no more. */
const NO_ROW = -1;

export class Target {
  readonly name: string;
  readonly backend: string;
  endpoints: readonly Endpoint[];
  /** Why there are no endpoints. */
  unresolved: string = "";
  /** Connections that are established or being made. */
  active: number = 0;
  private established: number = 0;
  failures: number = 0;
  lastFailure: string = "";
  private restsUntil: number = 0;
  private failedAt: number = 0;
  private stats: Float64Array = new Float64Array(0);
  private row: number = NO_ROW;

  constructor(backend: string, settings: RelayTargetSettings) {
    this.backend = backend;
    this.name = settings.name;
    this.endpoints = interleave(settings.addresses.map(endpoint));
  }

  resolved(addresses: readonly TargetAddress[], failure: string): void {
    this.endpoints = interleave(addresses.map(endpoint));
    this.unresolved = failure;
  }

  /** Where it is counted from now on; the connections that it has go along. */
  countIn(stats: Float64Array, row: number): void {
    this.stats = stats;
    this.row = row;
    this.count(TargetStat.active, this.established);
  }

  /** A connection is established with it. */
  took(): void {
    this.established++;
    this.failures = 0;
    this.restsUntil = 0;
    this.count(TargetStat.connections, 1);
    this.count(TargetStat.active, 1);
  }

  /** A connection that was established with it has ended. */
  left(): void {
    this.established--;
    this.count(TargetStat.active, -1);
  }

  forget(): void {
    this.row = NO_ROW;
  }

  count(column: number, by: number): void {
    if (this.row !== NO_ROW) this.stats[this.row * TARGET_STATS + column]! += by;
  }

  rests(now: number): boolean {
    return this.restsUntil > now;
  }

  /** It is tried. After failures one connection finds out whether it is well again; others wait for that, or for `patience`. */
  chosen(now: number, patience: number): void {
    this.active++;
    if (this.failures > 0) this.restsUntil = Math.max(this.restsUntil, now + patience);
  }

  /** `triedSince`: what began before the last failure is the same failure. */
  failed(now: number, triedSince: number, reason: string): void {
    this.lastFailure = reason;
    if (this.failures > 0 && triedSince < this.failedAt) return;
    this.failedAt = now;
    this.restsUntil = now + Math.min(LONGEST_REST, FIRST_REST * 2 ** Math.min(this.failures, 10));
    this.failures++;
  }

  status(now: number): RelayTargetStatus {
    return {
      backend: this.backend,
      target: this.name,
      addresses: this.endpoints.map(({ text }) => text),
      active: this.active,
      resting: Math.max(0, Math.ceil(this.restsUntil - now)),
      failures: this.failures,
      lastFailure: this.lastFailure,
    };
  }
}

function endpoint(address: TargetAddress): Endpoint {
  if ("path" in address) return { text: `unix:${address.path}`, socketAddress: undefined, path: address.path };
  const text = address.address.includes(":")
    ? `[${address.address}]:${address.port}`
    : `${address.address}:${address.port}`;
  return { text, socketAddress: native.socketAddress(address.address, address.port), path: "" };
}

/** RFC 8305 §4: the families in turn, beginning with that of the first, each in its own order. */
export function interleave(endpoints: readonly Endpoint[]): Endpoint[] {
  const isFirstFamily = ({ text }: Endpoint) => text.startsWith("[") === endpoints[0]!.text.startsWith("[");
  const first = endpoints.filter((each) => isFirstFamily(each));
  const others = endpoints.filter((each) => !isFirstFamily(each));
  const ordered: Endpoint[] = [];
  for (let i = 0; i < Math.max(first.length, others.length); i++) {
    if (i < first.length) ordered.push(first[i]!);
    if (i < others.length) ordered.push(others[i]!);
  }
  return ordered;
}
