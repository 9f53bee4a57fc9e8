/**
 * Ending a refused connection so that the client sees why. close(2) with unread bytes sends RST, and RST makes the
 * client's kernel drop an alert that it has not read yet (tcp(7), RFC 1122 §4.2.2.13). So what has come is read away,
 * the alert is sent, writing is shut down, and the descriptor stays until the client closes too, or a second has passed.
 */
import { type Loop, native } from "../native/addon.js";
import { type Connections, Mark, SlotList, State } from "./connections.js";
import { connectionTag, PARTING_EVENTS } from "./poll-tags.js";

/** How long a client may take to close after it was refused. Milliseconds. */
const PATIENCE = 1000;
/** Most that wait so at once; beyond it they are closed at once, and a client that still sends may miss the alert. */
const MOST = 4096;
/** Most bytes that are read away at a time. */
const DISCARD = 1 << 16;

export class Parting {
  private readonly loop: Loop;
  private readonly connections: Connections;
  private readonly close: (slot: number) => void;
  private readonly list: SlotList;

  constructor(loop: Loop, connections: Connections, close: (slot: number) => void) {
    this.loop = loop;
    this.connections = connections;
    this.close = close;
    this.list = new SlotList(connections);
  }

  /** How many wait for their client's end. */
  get count(): number {
    return this.list.count;
  }

  /** Says `bytes` (an alert's record, or nothing) and ends the connection, which is in no list and in no epoll set. */
  begin(slot: number, bytes: Uint8Array): void {
    const { connections, loop } = this;
    const descriptor = connections.descriptor[slot]!;
    if (native.farewell(descriptor, bytes, DISCARD) || this.list.count >= MOST) {
      this.close(slot);
      return;
    }
    try {
      loop.add(descriptor, PARTING_EVENTS, connectionTag(connections.generation[slot]!), slot);
    } catch {
      // ENOMEM, ENOSPC (max_user_watches): epoll_ctl(2). Then without waiting for the client.
      this.close(slot);
      return;
    }
    connections.state[slot] = State.PARTING;
    connections.marks[slot]! |= Mark.POLLED;
    connections.deadline[slot] = loop.clock[0]! + PATIENCE;
    this.list.push(slot);
  }

  /** The client sent more, or closed. */
  ready(slot: number): void {
    if (native.discard(this.connections.descriptor[slot]!, DISCARD)) this.end(slot);
  }

  /** Ends those whose time is over. Returns when the next one's is. */
  tick(now: number): number {
    const { deadline } = this.connections;
    while (this.list.count > 0 && deadline[this.list.head]! <= now) this.end(this.list.head);
    return this.list.count > 0 ? deadline[this.list.head]! : Number.POSITIVE_INFINITY;
  }

  /** Is the caller's to close. */
  abandon(slot: number): void {
    this.list.remove(slot);
  }

  private end(slot: number): void {
    this.abandon(slot);
    this.close(slot);
  }
}
