/**
 * The limits that hold for all workers together, in one region of shared memory that lasts as long as the process. What
 * is counted is given back when it ends, whatever the configuration is by then.
 */
import { getRandomValues } from "node:crypto";
import { ADDRESS_BYTES, readAddress } from "../addresses.js";
import { clientKey } from "./client-key.js";
import { ClientCounts, ClientRates, COUNTS_BYTES, RATES_BYTES } from "./client-sketch.js";
import type { Connections } from "./connections.js";
import type { Report } from "./report.js";
import type { DoorLimits, HoldingBackendSettings } from "./settings.js";

/** Words of the header: the hash's key, and the counts. */
const KEY_0 = 0;
const KEY_1 = 1;
const WAITING = 16;
const HELD = 32;
/** Then, from this byte on, when each limit was last hit: CLOCK_MONOTONIC in milliseconds. */
const HIT_AT = 256;
const WAITING_CLIENTS = 512;
const HELD_CLIENTS = WAITING_CLIENTS + COUNTS_BYTES;
const RATES = HELD_CLIENTS + COUNTS_BYTES;

/** A limit that has not been hit for so long begins anew: it is said again. Milliseconds. */
const QUIET = 10_000;

/** Limits by their names in the configuration. */
const limitNames = [
  "limits.waiting",
  "limits.waitingPerClient",
  "limits.held",
  "limits.acceptRate",
  "maxHeld",
  "maxHeldPerClient",
] as const;
type LimitName = (typeof limitNames)[number];

const NO_SALT = 0;

/** Shared memory for the limits of all workers. */
export function createLimitMemory(): SharedArrayBuffer {
  const memory = new SharedArrayBuffer(RATES + RATES_BYTES);
  const key = getRandomValues(new Int32Array(2));
  new Int32Array(memory).set(key, KEY_0);
  return memory;
}

export class Limits {
  private readonly connections: Connections;
  private readonly report: Report;
  private readonly words: Int32Array;
  private readonly hitAt: Float64Array;
  private readonly waitingClients: ClientCounts;
  private readonly heldClients: ClientCounts;
  private readonly rates: ClientRates;
  private readonly k0: number;
  private readonly k1: number;
  /** Keys under which a slot's connection is counted: as waiting or as held, never both. */
  private readonly keys: Uint32Array;
  private limits: DoorLimits;

  constructor(memory: SharedArrayBuffer, connections: Connections, report: Report, limits: DoorLimits) {
    this.connections = connections;
    this.report = report;
    this.words = new Int32Array(memory, 0, HIT_AT >> 2);
    this.hitAt = new Float64Array(memory, HIT_AT, limitNames.length);
    this.waitingClients = new ClientCounts(memory, WAITING_CLIENTS);
    this.heldClients = new ClientCounts(memory, HELD_CLIENTS);
    this.rates = new ClientRates(memory, RATES);
    this.k0 = this.words[KEY_0]!;
    this.k1 = this.words[KEY_1]!;
    this.keys = new Uint32Array(connections.capacity);
    this.limits = limits;
  }

  configure(limits: DoorLimits): void {
    this.limits = limits;
  }

  /** Whether clients are limited in how fast they come. */
  get ratesApply(): boolean {
    return this.limits.acceptRate > 0;
  }

  /** Whether the client may have one more connection now. Counts it, if so. */
  admit(slot: number, now: number): boolean {
    const { acceptRate, acceptBurst } = this.limits;
    if (this.rates.admit(this.keyOf(slot, NO_SALT), now, acceptRate, acceptBurst)) return true;
    this.hit("limits.acceptRate", acceptRate, slot, now);
    return false;
  }

  /**
   * Counts one more that waits for its hello; else says which limit it would exceed. One whose client is not known, because
   * a load balancer is still to tell it or has told nobody, counts for none.
   */
  beginWaiting(slot: number, now: number, isKnown: boolean): undefined | "waiting_full" | "client_full" {
    const { waiting, waitingPerClient } = this.limits;
    if (Atomics.add(this.words, WAITING, 1) >= waiting) {
      Atomics.sub(this.words, WAITING, 1);
      this.hit("limits.waiting", waiting, slot, now);
      return "waiting_full";
    }
    if (!isKnown) return undefined;
    const key = this.keyOf(slot, NO_SALT);
    if (!this.waitingClients.add(key, waitingPerClient)) {
      Atomics.sub(this.words, WAITING, 1);
      this.hit("limits.waitingPerClient", waitingPerClient, slot, now);
      return "client_full";
    }
    this.keys[slot] = key;
    return undefined;
  }

  /** `isKnown` is as it was at the begin. */
  endWaiting(slot: number, isKnown: boolean): void {
    Atomics.sub(this.words, WAITING, 1);
    if (isKnown) this.waitingClients.subtract(this.keys[slot]!);
  }

  /**
   * Counts one more that a backend holds, or returns false. `counts` has the backend's own at `index`; `salt` tells the
   * backend's clients apart from other backends'.
   */
  beginHeld(
    slot: number,
    now: number,
    settings: HoldingBackendSettings,
    counts: Int32Array,
    index: number,
    salt: number,
  ): boolean {
    const { words } = this;
    if (Atomics.add(words, HELD, 1) >= this.limits.held) {
      Atomics.sub(words, HELD, 1);
      return this.hit("limits.held", this.limits.held, slot, now);
    }
    if (Atomics.add(counts, index, 1) >= settings.maxHeld) {
      Atomics.sub(words, HELD, 1);
      Atomics.sub(counts, index, 1);
      return this.hit("maxHeld", settings.maxHeld, slot, now, settings.name);
    }
    const key = this.keyOf(slot, salt);
    if (!this.heldClients.add(key, settings.maxHeldPerClient)) {
      Atomics.sub(words, HELD, 1);
      Atomics.sub(counts, index, 1);
      return this.hit("maxHeldPerClient", settings.maxHeldPerClient, slot, now, settings.name);
    }
    this.keys[slot] = key;
    return true;
  }

  endHeld(slot: number, counts: Int32Array, index: number): void {
    Atomics.sub(this.words, HELD, 1);
    Atomics.sub(counts, index, 1);
    this.heldClients.subtract(this.keys[slot]!);
  }

  private keyOf(slot: number, salt: number): number {
    const { connections } = this;
    return clientKey(connections.address, slot * ADDRESS_BYTES, salt, this.k0, this.k1);
  }

  /** One line when a limit begins to be hit, of all workers together. Counters tell the rest. Returns false. */
  private hit(limit: LimitName, value: number, slot: number, now: number, backend?: string): false {
    const index = limitNames.indexOf(limit);
    const before = this.hitAt[index]!;
    this.hitAt[index] = now;
    if (before > 0 && now - before < QUIET) return false;
    const client = readAddress(this.connections.address, slot * ADDRESS_BYTES)?.address ?? "unknown";
    this.report.line(now, "warn", "limit.reached", `${explain[limit]}; more are refused, and counted`, {
      limit: backend === undefined ? limit : `backends.${backend}.${limit}`,
      value,
      ...(isForEachClient(limit) && { client }),
    });
    return false;
  }
}

function isForEachClient(limit: LimitName): boolean {
  return limit === "limits.acceptRate" || limit.endsWith("PerClient");
}

const explain: Readonly<Record<LimitName, string>> = {
  "limits.waiting": "as many connections wait for a hello as may",
  "limits.waitingPerClient": "as many connections of one client wait for a hello as may",
  "limits.held": "as many connections are held as may, of all backends together",
  "limits.acceptRate": "one client connects faster than it may",
  maxHeld: "as many connections are held for a backend as may",
  maxHeldPerClient: "as many connections of one client are held for a backend as may",
};
