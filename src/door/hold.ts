/**
 * Connections that no instance can take now. Each is kept until an instance appears or its backend's hold time ends;
 * the client sees a slower handshake. The counts have caps: in all, for each backend, and for each of its clients; but
 * not for the successor in an upgrade, which gets what has passed its limits before.
 */
import type { Loop } from "../native/addon.js";
import type { Backend } from "./backends.js";
import { type Connections, Mark, State } from "./connections.js";
import type { Limits } from "./limits.js";
import { connectionTag, HELD_EVENTS } from "./poll-tags.js";
import type { BackendSettings, HoldingBackendSettings } from "./settings.js";
import { successorSettings } from "./successor.js";

export class Hold {
  private readonly loop: Loop;
  private readonly connections: Connections;
  private readonly limits: Limits;
  /** Held connections by backend index, all workers together. */
  private shared: Int32Array;
  /** By backend index: tells its clients apart from those of other backends, in every generation in the same way. */
  private salts: readonly number[];
  /** Connections that this worker holds. */
  count: number = 0;

  constructor(
    loop: Loop,
    connections: Connections,
    limits: Limits,
    shared: SharedArrayBuffer,
    backends: readonly BackendSettings[],
  ) {
    this.loop = loop;
    this.connections = connections;
    this.limits = limits;
    this.shared = new Int32Array(shared);
    this.salts = backends.map(saltOf);
  }

  /** A new configuration numbers backends anew; nothing may be held at this moment. */
  configure(shared: SharedArrayBuffer, backends: readonly BackendSettings[]): void {
    this.shared = new Int32Array(shared);
    this.salts = backends.map(saltOf);
  }

  /**
   * Holds a connection that is in no list; behind the others, or before them. Returns false if there are too many, or the
   * kernel cannot watch one more.
   */
  begin(slot: number, backend: Backend, settings: HoldingBackendSettings, isFirst: boolean = false): boolean {
    const { connections, limits, loop, shared } = this;
    const { index } = backend;
    const now = loop.clock[0]!;
    const isLimited = settings !== successorSettings;
    if (isLimited && !limits.beginHeld(slot, now, settings, shared, index, this.salts[index]!)) return false;
    try {
      loop.add(connections.descriptor[slot]!, HELD_EVENTS, connectionTag(connections.generation[slot]!), slot);
    } catch {
      if (isLimited) limits.endHeld(slot, shared, index);
      return false; // ENOMEM, ENOSPC (max_user_watches): epoll_ctl(2)
    }
    this.count++;
    if (connections.heldSince[slot] === 0) connections.heldSince[slot] = now;
    connections.heldAt[slot] = now;
    connections.state[slot] = State.HELD;
    connections.backend[slot] = index;
    connections.marks[slot]! |= Mark.POLLED;
    if (isFirst) backend.held.unshift(slot);
    else backend.held.push(slot);
    return true;
  }

  /** Ends the hold: the connection is in no list again. It is still in the epoll set. */
  end(slot: number, backend: Backend): void {
    const { connections } = this;
    backend.held.remove(slot);
    if (backend.settings !== successorSettings) this.limits.endHeld(slot, this.shared, backend.index);
    this.count--;
    connections.heldFor[slot]! += this.loop.clock[0]! - connections.heldAt[slot]!;
    connections.state[slot] = State.PLACING;
  }
}

/** FNV-1a of the name; which clients share a place is decided by the secret of client-key.ts. */
function saltOf({ name }: BackendSettings): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return hash;
}
