/** A hello that we and a peer read differently, and what can be asked of it. */

import type { Facts } from "../tls/facts.js";
import { Ext, messageOf } from "../tls/hello-builder.js";
import { type Cause, extensionsOf } from "./cause.js";
import type { Kind } from "./comparison.js";

export interface Disagreement {
  readonly peer: string;
  readonly kind: Kind;
  /** comparison.ts says of what. */
  readonly detail: string;
  readonly bytes: Uint8Array;
  readonly ours: Facts;
  /** Where only we accept. */
  readonly cause: Cause | undefined;
}

export interface NameEntry {
  /** 0 is host_name. */
  readonly type: number;
  /** One character a byte. */
  readonly name: string;
}

/** The ServerNameList of a hello that we accept, which is known to be well-formed; empty without one. */
export function nameEntries({ bytes, ours }: Disagreement): NameEntry[] {
  if (ours.status !== "done" || ours.sslv2) return [];
  const message = messageOf(bytes.subarray(0, ours.length));
  const extension = extensionsOf(message).find(({ type }) => type === Ext.server_name);
  const entries: NameEntry[] = [];
  for (let at = (extension?.start ?? 0) + 6; at < (extension?.end ?? 0); ) {
    const end = at + 3 + message[at + 1]! * 256 + message[at + 2]!;
    entries.push({ type: message[at]!, name: Buffer.from(message.subarray(at + 3, end)).toString("latin1") });
    at = end;
  }
  return entries;
}
