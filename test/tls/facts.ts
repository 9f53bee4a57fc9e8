/** What a read came to, as plain values that tests can compare. */

import { type ClientHelloOptions, ClientHelloReader } from "../../src/tls/client-hello.js";
import { type InvalidReason, Status } from "../../src/tls/outcome.js";
import { guard } from "./guard.js";

export type Facts =
  | { status: "partial"; needed: number }
  | { status: "notTls" }
  | { status: "invalid"; reason: InvalidReason }
  | {
      status: "done";
      serverName: string | undefined;
      ipLiteral: boolean;
      alpn: string[];
      maxVersion: number;
      legacyVersion: number;
      ech: boolean;
      sslv2: boolean;
      length: number;
    };

const shared = new ClientHelloReader();

/** Reads with one reader for all tests, as a worker does, so that state which leaks is noticed. */
export function read(bytes: Uint8Array, options?: ClientHelloOptions): Facts {
  const reader = options === undefined ? shared : new ClientHelloReader(options);
  return facts(reader, reader.read(bytes, 0, bytes.length));
}

/** The same, where reading anything outside `bytes` throws. */
export function readGuarded(bytes: Uint8Array): Facts {
  const guarded = guard(bytes);
  return facts(shared, shared.read(guarded.bytes, guarded.start, guarded.end));
}

export function facts(reader: ClientHelloReader, status: Status): Facts {
  if (status === Status.PARTIAL) return { status: "partial", needed: reader.needed };
  if (status === Status.NOT_TLS) return { status: "notTls" };
  if (status === Status.INVALID) return { status: "invalid", reason: reader.reason };
  return {
    status: "done",
    serverName: reader.nameLength === 0 ? undefined : text(reader.name, 0, reader.nameLength),
    ipLiteral: reader.ipLiteral,
    alpn: protocols(reader),
    maxVersion: reader.maxVersion,
    legacyVersion: reader.legacyVersion,
    ech: reader.ech,
    sslv2: reader.sslv2,
    length: reader.length,
  };
}

function protocols(reader: ClientHelloReader): string[] {
  const { source } = reader;
  const list: string[] = [];
  for (let at = reader.alpnStart; at < reader.alpnEnd; at += 1 + source[at]) {
    list.push(text(source, at + 1, at + 1 + source[at]));
  }
  if (list.length !== reader.alpnCount)
    throw new Error(`alpnCount is ${reader.alpnCount}, the list has ${list.length}`);
  const first = text(source, reader.alpnOffset, reader.alpnOffset + reader.alpnLength);
  if (first !== (list[0] ?? "")) throw new Error(`the first protocol is ${first}, the list's is ${list[0]}`);
  return list;
}

function text(bytes: Uint8Array, start: number, end: number): string {
  let result = "";
  for (let i = start; i < end; i++) result += String.fromCharCode(bytes[i]);
  return result;
}

/** What a well-formed hello of the builder's defaults comes to, with the differences given. */
export function done(differences: Partial<Extract<Facts, { status: "done" }>>): Record<string, unknown> {
  return {
    status: "done",
    serverName: undefined,
    ipLiteral: false,
    alpn: [],
    maxVersion: 0x0303,
    legacyVersion: 0x0303,
    ech: false,
    sslv2: false,
    ...differences,
  };
}
