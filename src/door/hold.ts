/**
 * Connections that no instance can take now. Each is kept until an instance appears or its backend's hold time ends;
 * the client sees a slower handshake. The counts have caps for each backend and each client.
 */
import { type Loop, native } from "../native/addon.js";
import type { Backend } from "./backends.js";
import { clientKey } from "./client-key.js";
import { type Connections, Mark, State } from "./connections.js";
import { connectionTag, HELD_EVENTS } from "./poll-tags.js";
import type { HandoffBackendSettings } from "./settings.js";

export class Hold {
  private readonly loop: Loop;
  private readonly connections: Connections;
  /** Held connections by backend index, all workers together. */
  private shared: Int32Array;
  private readonly clientOf: Map<number, string> = new Map();
  private readonly byClient: Map<string, number> = new Map();

  constructor(loop: Loop, connections: Connections, shared: SharedArrayBuffer) {
    this.loop = loop;
    this.connections = connections;
    this.shared = new Int32Array(shared);
  }

  /** A new configuration numbers backends anew; nothing may be held at this moment. */
  configure(shared: SharedArrayBuffer): void {
    this.shared = new Int32Array(shared);
  }

  /** Holds a connection that is in no list. Returns false if there are too many, or the kernel cannot watch one more. */
  begin(slot: number, backend: Backend, settings: HandoffBackendSettings): boolean {
    const { connections, loop } = this;
    const descriptor = connections.descriptor[slot]!;
    if (Atomics.load(this.shared, backend.index) >= settings.maxHeld) return false;
    let client: string;
    try {
      client = clientKey(native.peerAddress(descriptor).address);
    } catch {
      client = ""; // no longer connected; epoll says so at once
    }
    const count = this.byClient.get(client) ?? 0;
    if (count >= settings.maxHeldPerClient) return false;
    try {
      loop.add(descriptor, HELD_EVENTS, connectionTag(connections.generation[slot]!), slot);
    } catch {
      return false; // ENOMEM, ENOSPC (max_user_watches): epoll_ctl(2)
    }
    this.byClient.set(client, count + 1);
    this.clientOf.set(slot, client);
    Atomics.add(this.shared, backend.index, 1);
    if (connections.heldSince[slot] === 0) connections.heldSince[slot] = loop.clock[0]!;
    connections.state[slot] = State.HELD;
    connections.backend[slot] = backend.index;
    connections.marks[slot]! |= Mark.POLLED;
    backend.held.push(slot);
    return true;
  }

  /** Ends the hold: the connection is in no list again. It is still in the epoll set. */
  end(slot: number, backend: Backend): void {
    backend.held.remove(slot);
    Atomics.sub(this.shared, backend.index, 1);
    const client = this.clientOf.get(slot)!;
    this.clientOf.delete(slot);
    const count = this.byClient.get(client)! - 1;
    if (count === 0) this.byClient.delete(client);
    else this.byClient.set(client, count);
    this.connections.state[slot] = State.PLACING;
  }
}
