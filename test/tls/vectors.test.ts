import { describe, expect, test } from "vitest";
import { read } from "./facts.js";
import { messageOf, records } from "./hello-builder.js";
import { expectPartialUntilDone, readsUntilDone } from "./prefixes.js";
import { vectors } from "./vectors.js";

const name = "www.example.com";
const both = ["h2", "http/1.1"];
const tls13 = { maxVersion: 0x0304, legacyVersion: 0x0303 };

/** What each client was asked for on its command line, and why its hello is kept. */
const expected: Record<string, { why: string } & Record<string, unknown>> = {
  chromium: { why: "GREASE everywhere, GREASE ECH, post-quantum", serverName: name, alpn: both, ech: true, ...tls13 },
  "chromium-address": {
    why: "an address in the URL is not sent as a name",
    serverName: undefined,
    ech: true,
    ...tls13,
  },
  "curl-h2": { why: "padded to 517 bytes", serverName: name, alpn: both, length: 517 },
  "curl-tls12": { why: "no supported_versions", serverName: name, alpn: ["http/1.1"], maxVersion: 0x0303 },
  "gnutls-alpn": { why: "another library's order", serverName: name, alpn: both, ...tls13 },
  "gnutls-default": { why: "another library", serverName: name, alpn: [], ...tls13 },
  "gnutls-no-extensions": { why: "no extensions block at all", serverName: undefined, maxVersion: 0x0301, length: 64 },
  "go-address": { why: "an address is not sent as a name", serverName: undefined, ipLiteral: false, ...tls13 },
  "go-alpn": { why: "more than one TCP segment", serverName: name, alpn: both, length: 1525, ...tls13 },
  "go-default": { why: "more than one TCP segment", serverName: name, alpn: [], ...tls13 },
  "java-alpn": { why: "another library", serverName: name, alpn: both, ...tls13 },
  "java-default": { why: "another library", serverName: name, alpn: [], ...tls13 },
  "node-alpn": { why: "the library that our backends use", serverName: name, alpn: both, ...tls13 },
  "node-default": { why: "the library that our backends use", serverName: name, alpn: [], ...tls13 },
  "openssl-alpn": { why: "the commonest client library", serverName: name, alpn: both, ...tls13 },
  "openssl-ipv4": { why: "an address as a name, from a real client", serverName: undefined, ipLiteral: true },
  "openssl-ipv6": { why: "an address as a name, from a real client", serverName: undefined, ipLiteral: true },
  "openssl-no-name": { why: "extensions, but no name", serverName: undefined, ipLiteral: false, ...tls13 },
  "openssl-tls10": { why: "legacy_version 0x0301", serverName: name, maxVersion: 0x0301, legacyVersion: 0x0301 },
  "openssl-tls12": { why: "no supported_versions", serverName: name, maxVersion: 0x0303 },
  "openssl-tls13": { why: "TLS 1.3 alone", serverName: name, ...tls13 },
  "openssl-trailing-dot": { why: "the dot is in the hello", serverName: name, ...tls13 },
  "openssl-two-records": {
    why: "a real client that uses two records",
    serverName: name,
    alpn: Array.from({ length: 40 }, (_, i) => `protocol-${i}`),
    ...tls13,
  },
  "openssl-underscore": { why: "underscores, at a label's start too", serverName: "_dmarc.mail_1.example.com" },
  "openssl-upper-case": { why: "the capitals are in the hello", serverName: name, ...tls13 },
  "python-address": { why: "an address is not sent as a name", serverName: undefined, ipLiteral: false, length: 517 },
  "python-default": { why: "padded to 517 bytes", serverName: name, alpn: [], length: 517 },
  "rustls-address": { why: "an address is not sent as a name", serverName: undefined, ipLiteral: false, ...tls13 },
  "rustls-default": { why: "another library", serverName: name, alpn: both, ...tls13 },
};

test("every vector has an expectation and says where it comes from", () => {
  expect(vectors.map((vector) => vector.name)).toEqual(Object.keys(expected).sort());
  for (const { provenance } of vectors) {
    expect(provenance).toMatchObject({
      client: expect.stringMatching(/./),
      version: expect.stringMatching(/\d/),
      command: expect.stringMatching(/./),
      date: expect.stringMatching(/^\d{4}-\d\d-\d\d$/),
    });
  }
});

test("the vectors that exist for odd bytes have them", () => {
  const latin1 = (which: string) =>
    Buffer.from(vectors.find((vector) => vector.name === which)!.bytes).toString("latin1");
  expect(latin1("openssl-trailing-dot")).toContain("www.example.com.");
  expect(latin1("openssl-upper-case")).toContain("WWW.Example.COM");
  expect(latin1("openssl-ipv4")).toContain("192.0.2.1");
  expect(latin1("openssl-ipv6")).toContain("2001:db8::1");
});

describe.each(vectors)("$name", ({ name: which, bytes }) => {
  const { why, ...facts } = expected[which];

  test(`is read: ${why}`, () => {
    expect(read(bytes)).toMatchObject({ status: "done", ech: false, sslv2: false, length: bytes.length, ...facts });
  });

  test("is partial at every split point before its end", () => {
    expectPartialUntilDone(bytes);
  });

  test("takes no more reads than it has headers, when the bytes come as they are needed", () => {
    // With nothing, with the first byte, with the headers, and with all.
    expect(readsUntilDone(bytes)).toBe(4);
  });

  test("comes to the same in records of any size, at every split point", () => {
    const { length: _, ...whole } = read(bytes) as { length: number };
    for (const sizes of [[1], [3], [4, 100], [1, 3, 512], [bytes.length - 6]]) {
      const split = records(messageOf(bytes), sizes);
      expect(expectPartialUntilDone(split)).toEqual({ ...whole, length: split.length });
    }
  });

  test("in records of 1 byte does not make the caller wake for each", () => {
    expect(readsUntilDone(records(messageOf(bytes), [1]))).toBeLessThan(60);
  });
});
