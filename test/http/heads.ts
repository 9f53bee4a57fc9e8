/** Request heads read by the parser, as plain values, and what must hold at each place where TCP may split one. */
import { expect } from "vitest";
import { HeadStatus } from "../../src/http/outcome.js";
import { RequestHeadReader } from "../../src/http/request-head.js";
import { guard } from "../tls/guard.js";

export const MAX_LENGTH = 16_384;

export interface HeadFacts {
  readonly status: "done" | "partial" | "http2" | "invalid";
  readonly reason?: string;
  readonly name?: string;
  readonly ipLiteral?: boolean;
  readonly path?: string | undefined;
  readonly length?: number;
}

const reader = new RequestHeadReader(MAX_LENGTH);

export function bytesOf(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "latin1"));
}

export function read(bytes: Uint8Array, start = 0, end = bytes.length, by: RequestHeadReader = reader): HeadFacts {
  switch (by.read(bytes, start, end)) {
    case HeadStatus.PARTIAL:
      return { status: "partial" };
    case HeadStatus.HTTP2:
      return { status: "http2" };
    case HeadStatus.INVALID:
      return { status: "invalid", reason: by.reason };
    default: {
      const text = (source: Uint8Array, from: number, to: number) =>
        Buffer.from(Uint8Array.prototype.slice.call(source, from, to)).toString("latin1");
      const { name, nameLength, ipLiteral, pathStart, pathEnd, length } = by;
      const path = pathEnd === 0 ? undefined : [...Array(pathEnd - pathStart).keys()].map((i) => bytes[pathStart + i]!);
      return {
        status: "done",
        name: text(name, 0, nameLength),
        ipLiteral,
        path: path && Buffer.from(path).toString("latin1"),
        length,
      };
    }
  }
}

/** The same, where a look outside the bytes throws. */
export function readGuarded(inner: Uint8Array): HeadFacts {
  const { bytes, start, end } = guard(inner);
  return read(bytes, start, end);
}

/** Partial up to some byte, and from there on what the whole comes to, whatever follows. Returns that. */
export function expectAtEverySplit(text: string): HeadFacts {
  const bytes = bytesOf(text);
  const whole = read(bytes);
  expect(readGuarded(bytes)).toEqual(whole);
  let decidedAt = -1;
  for (let length = 0; length <= bytes.length; length++) {
    const facts = read(bytes, 0, length);
    if (facts.status === "partial" && decidedAt < 0) continue;
    if (decidedAt < 0) decidedAt = length;
    if (JSON.stringify(facts) !== JSON.stringify(whole)) expect({ length, ...facts }).toEqual({ length, ...whole });
  }
  if (whole.status === "done") expect(decidedAt).toBe(whole.length);
  for (const filler of [0, 0x0a, 0x0d, 0x20, 0x41, 0xff]) {
    const followed = new Uint8Array(bytes.length + 50).fill(filler);
    followed.set(bytes);
    if (whole.status !== "partial") expect(read(followed)).toEqual(whole);
  }
  return whole;
}
