/** The bytes of a door's messages, rules or no rules: whatever a rule wants to send. */
import { FieldType, HEADER_LENGTH, MessageType, PROTOCOL_VERSION } from "../handoff/layout.js";

export interface Header {
  readonly version?: number;
  readonly type?: number;
  readonly sequence?: number;
  /** As stated; the message's own length if absent. */
  readonly length?: number;
}

/** A field: type, then its value. */
export type Field = readonly [type: number, value: Uint8Array];

/** A message of any fields. HANDOFF, version 1, sequence 0, its real length, if nothing else is said. */
export function messageBytes(fields: readonly Field[], header: Header = {}): Buffer {
  const body = fields.map(([type, value]) => {
    const head = Buffer.alloc(4);
    head.writeUInt16LE(type, 0);
    head.writeUInt16LE(value.length, 2);
    return Buffer.concat([head, value]);
  });
  const bytes = Buffer.concat([Buffer.alloc(HEADER_LENGTH), ...body]);
  bytes[0] = header.version ?? PROTOCOL_VERSION;
  bytes[1] = header.type ?? MessageType.HANDOFF;
  bytes.writeUInt16LE(header.length ?? bytes.length, 2);
  bytes.writeUInt32LE((header.sequence ?? 0) >>> 0, 4);
  return bytes;
}

export function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}

export function long(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

/** u16 port, then the address in network order. */
export function address(port: number, octets: readonly number[]): Buffer {
  return Buffer.from([port & 255, port >> 8, ...octets]);
}

let connectionId = 0x100000000n;

/** The fields that every HANDOFF has, of a connection of its own. */
export function neededFields(flags: number): Field[] {
  return [
    [FieldType.CONNECTION_ID, long(connectionId++)],
    [FieldType.ACCEPTED_AT, long(BigInt(Date.now()) * 1_000_000n)],
    [FieldType.FLAGS, word(flags)],
  ];
}
