/** Gives single connections to the instances of a backend, for a process that has received them itself. */
import { type Dirent, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { Intact, native } from "../native/addon.js";
import { Message } from "./message.js";
import { OutgoingChannel } from "./outgoing-channel.js";

/** A backend, as the configuration names it. */
export interface DeliveryTarget {
  /** A socket's path (or "@abstract"), or, ending in "/", a folder in which every socket is an instance. */
  readonly path: string;
  /** The user whose processes may be instances, beside root and the path's owner; -1: none. */
  readonly uid: number;
  readonly acknowledgeTimeout: number;
}

/** How long an instance may take to say READY, or to have room. Milliseconds. */
const READY_TIMEOUT = 2000;
/** Permission bits with which others than its owner could put sockets into a folder. */
const WRITABLE_BY_OTHERS = 0o022;

export class Deliverer {
  private readonly channels: Map<string, OutgoingChannel> = new Map();
  /** Whose turn it is, of several instances. */
  private turn: number = 0;

  /**
   * Gives a connection to an instance, each of them tried once. `handoff` is the HANDOFF that it came with, as a latin1
   * string; nothing was read from it since. The descriptor stays the caller's, who closes it when this has resolved: to
   * false if nobody has it and it is whole, else to true. Never rejects.
   */
  async deliver(target: DeliveryTarget, descriptor: number, handoff: string): Promise<boolean> {
    const bytes = Buffer.from(handoff, "latin1");
    for (const path of this.instances(target.path)) {
      const channel = this.channel(path, target.uid);
      const outcome = await channel?.handOff(bytes, descriptor, READY_TIMEOUT, target.acknowledgeTimeout);
      if (outcome === "acknowledged") return true;
      // The instance that lost it may have begun to read: then nobody else can.
      if (outcome === "taken back" && !isWhole(descriptor, consumedBefore(bytes))) return true;
    }
    return false;
  }

  /** Closes channels to others than these. */
  configure(targets: readonly DeliveryTarget[]): void {
    const isKept = (path: string) =>
      targets.some((target) => path === target.path || (target.path.endsWith("/") && path.startsWith(target.path)));
    for (const [path, channel] of this.channels) {
      if (isKept(path)) continue;
      this.channels.delete(path);
      channel.close();
    }
  }

  close(): void {
    this.configure([]);
  }

  /** Undefined if nobody can be connected to. */
  private channel(path: string, uid: number): OutgoingChannel | undefined {
    const open = this.channels.get(path);
    if (open !== undefined && !open.isClosed) return open;
    this.channels.delete(path);
    try {
      const channel = new OutgoingChannel(path, uid);
      this.channels.set(path, channel);
      return channel;
    } catch {
      return undefined;
    }
  }

  /** Beginning with another one each time. */
  private instances(path: string): string[] {
    const all = path.endsWith("/") ? socketsIn(path) : [path];
    const first = all.length > 1 ? this.turn++ % all.length : 0;
    return [...all.slice(first), ...all.slice(0, first)];
  }
}

/** As the door: none in a folder that others than its owner may write to. */
function socketsIn(folder: string): string[] {
  let entries: Dirent[];
  try {
    if ((statSync(folder).mode & WRITABLE_BY_OTHERS) !== 0) return [];
    entries = readdirSync(folder, { withFileTypes: true });
  } catch {
    return [];
  }
  return entries.filter((entry) => entry.isSocket()).map(({ name }) => join(folder, name));
}

/** What cannot be told to be whole is not given to anybody else. */
function isWhole(descriptor: number, consumed: number): boolean {
  try {
    return native.intact(descriptor, consumed) === Intact.WHOLE;
  } catch {
    return false;
  }
}

/** What the door had read of the connection. */
function consumedBefore(handoff: Buffer): number {
  message.decode(handoff, 0, handoff.length);
  return message.consumed;
}

const message = new Message();
