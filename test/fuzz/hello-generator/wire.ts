/** A ClientHello as a tree of vectors (RFC 8446 §3.4), whose stated lengths can be other than the true ones. */

export type Part = Uint8Array | Vector;

/** What stands before the length, the length, and what it counts. */
export class Vector {
  /** The RFC's name of the field, or "extension". */
  readonly name: string;
  /** The type of an extension, of a name or of a handshake message; else empty. */
  prefix: Uint8Array;
  /** Bytes of the length. */
  readonly width: 1 | 2 | 3;
  parts: Part[];
  /** How much more than the true length is stated. */
  surplus: number = 0;

  constructor(name: string, width: 1 | 2 | 3, parts: Part[], prefix: Uint8Array = new Uint8Array()) {
    this.name = name;
    this.width = width;
    this.parts = parts;
    this.prefix = prefix;
  }
}

/** Of a length that does not fit its width, the lower bytes. */
export function encode(part: Part): Uint8Array {
  if (part instanceof Uint8Array) return part;
  const content = join(part.parts.map(encode));
  const stated = content.length + part.surplus;
  const length = Uint8Array.from({ length: part.width }, (_, i) => (stated >> (8 * (part.width - 1 - i))) & 0xff);
  return join([part.prefix, length, content]);
}

/** All of them, the outer ones first. */
export function vectorsIn(part: Part): Vector[] {
  return part instanceof Uint8Array ? [] : [part, ...part.parts.flatMap(vectorsIn)];
}

/** Its copy, which can be changed by itself. */
export function copyOf(part: Part): Part {
  if (part instanceof Uint8Array) return part.slice();
  const copy = new Vector(part.name, part.width, part.parts.map(copyOf), part.prefix.slice());
  copy.surplus = part.surplus;
  return copy;
}

export interface WireRecord {
  /** ContentType; 22 is handshake. */
  type: number;
  version: number;
  content: Uint8Array;
  /** How much more than the true length is stated. */
  surplus: number;
}

export function encodeRecords(records: readonly WireRecord[]): Uint8Array {
  return join(
    records.map(({ type, version, content, surplus }) =>
      join([Uint8Array.of(type), u16(version), u16(content.length + surplus), content]),
    ),
  );
}

/** The message cut into records; the last size goes on. */
export function cut(message: Uint8Array, sizes: readonly number[], version: number): WireRecord[] {
  const records: WireRecord[] = [];
  for (let at = 0; at < message.length; ) {
    const size = sizes[Math.min(records.length, sizes.length - 1)]!;
    records.push({ type: 22, version, content: message.slice(at, at + size), surplus: 0 });
    at += size;
  }
  return records;
}

export function u16(value: number): Uint8Array {
  return Uint8Array.of((value >> 8) & 0xff, value & 0xff);
}

export function text(characters: string): Uint8Array {
  return Uint8Array.from(Buffer.from(characters, "latin1"));
}

export function join(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
