import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Address } from "../../src/addresses.js";
import { INVALID_HEADER_REASONS, ProxyHeaderReader, parseProxyHeader } from "../../src/proxy-protocol/index.js";
import { HeaderStatus } from "../../src/proxy-protocol/outcome.js";
import { factsOf, type Header, header, v2 } from "./support.js";
import { vectors } from "./vectors.js";

const runs = { numRuns: 500 };
const port = fc.integer({ min: 0, max: 0xffff });
const ipv4 = fc.record({ family: fc.constant("IPv4" as const), address: fc.ipV4(), port });
const groups = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff })), { minLength: 8, maxLength: 8 });
/** Not IPv4-mapped: those are read as what they are. */
const ipv6 = fc.record({
  family: fc.constant("IPv6" as const),
  // The URL standard's serialiser follows RFC 5952.
  address: groups
    .filter((g) => !(g.slice(0, 5).every((x) => x === 0) && g[5] === 0xffff))
    .map((g) => new URL(`http://[${g.map((x) => x.toString(16)).join(":")}]`).hostname.slice(1, -1)),
  port,
});
const address: fc.Arbitrary<Address> = fc.oneof(ipv4, ipv6);
const text = (maxLength: number) => fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes).toString("latin1"));
const told: fc.Arbitrary<Header> = fc.record(
  { source: address, destination: address, authority: text(255), alpn: text(255), uniqueId: text(128) },
  { requiredKeys: ["source", "destination"] },
);
const version = fc.constantFrom(1 as const, 2 as const);
const rest = fc.uint8Array({ maxLength: 40 });

describe("what is written is read", () => {
  it("in both versions, with anything behind it, also if the addresses are of two families", () => {
    fc.assert(
      fc.property(version, told, rest, (version, told, rest) => {
        const bytes = header(version, told);
        const { source, destination } = told;
        const expected = { status: "done", version, length: bytes.length, local: false, source, destination };
        expect(parseProxyHeader(Buffer.concat([bytes, rest]))).toEqual(expected);
      }),
      runs,
    );
  });

  it("without addresses if one is not known", () => {
    fc.assert(
      fc.property(version, told, fc.constantFrom("source", "destination"), (version, told, absent) => {
        const parsed = parseProxyHeader(header(version, { ...told, [absent]: undefined }));
        expect(parsed).toMatchObject({ status: "done", version, source: undefined, destination: undefined });
      }),
      runs,
    );
  });

  it("and the TLVs are the bytes that were given", () => {
    const source = { family: "IPv4", address: "192.0.2.1", port: 1 } as const;
    const values = { authority: "app.example.com", alpn: "h2", uniqueId: "\x00\xff42" };
    const bytes = header(2, { source, destination: source, ...values });
    expect(bytes.toString("latin1", 28)).toBe("\x01\0\x02h2\x02\0\x0fapp.example.com\x05\0\x04\x00\xff42");
    expect(header(1, { source, destination: source, ...values }).toString()).toBe(
      "PROXY TCP4 192.0.2.1 192.0.2.1 1 1\r\n",
    );
  });

  it("but not a value that is too long", () => {
    const source = { family: "IPv4", address: "192.0.2.1", port: 1 } as const;
    const long = (name: string, length: number) => () =>
      header(2, { source, destination: source, [name]: "x".repeat(length) });
    expect(long("authority", 256)).toThrow(new RangeError("authority of 256 bytes; at most 255 are allowed"));
    expect(long("alpn", 256)).toThrow(new RangeError("alpn of 256 bytes; at most 255 are allowed"));
    expect(long("uniqueId", 129)).toThrow(new RangeError("uniqueId of 129 bytes; at most 128 are allowed"));
  });
});

describe("wherever a header is cut", () => {
  it("it is partial, asks for more than it has, and for no more than there is", () => {
    fc.assert(
      fc.property(version, told, (version, told) => {
        const bytes = header(version, told);
        for (let cut = 0; cut < bytes.length; cut++) {
          const parsed = parseProxyHeader(bytes.subarray(0, cut));
          expect(parsed.status).toBe("partial");
          const { needed } = parsed as { needed: number };
          expect(needed).toBeGreaterThan(cut);
          expect(needed).toBeLessThanOrEqual(bytes.length);
        }
      }),
      { numRuns: 100 },
    );
  });
});

const seeds = [
  ...vectors.map(({ bytes }) => bytes),
  header(2, { authority: "app.example.com", alpn: "h2", uniqueId: "42" }),
  v2(0x21, 0x31, Buffer.alloc(230)),
];
const changed = fc
  .tuple(fc.constantFrom(...seeds), fc.array(fc.tuple(fc.nat(300), fc.nat(255)), { maxLength: 4 }), fc.nat(300))
  .map(([seed, changes, cut]) => {
    const bytes = Buffer.from(seed);
    for (const [at, value] of changes) bytes[at % bytes.length] = value;
    return bytes.subarray(0, Math.max(1, cut));
  });
const prefixed = fc
  .tuple(
    fc.constantFrom("PROXY ", "PROXY TCP4 ", "PROXY TCP6 ", "\r\n\r\n\0\r\nQUIT\n"),
    fc.uint8Array({ maxLength: 300 }),
  )
  .map(([prefix, bytes]) => Buffer.concat([Buffer.from(prefix, "latin1"), bytes]));
const anything = fc.oneof(changed, prefixed, fc.uint8Array({ maxLength: 300 }));

describe("whatever comes", () => {
  it("never throws, is one of the four, and looks at nothing outside what it was given", () => {
    fc.assert(
      fc.property(anything, fc.nat(20), (bytes, before) => {
        const plain = parseProxyHeader(bytes);
        if (plain.status === "invalid") expect(INVALID_HEADER_REASONS).toContain(plain.reason);
        if (plain.status === "partial") expect(plain.needed).toBeGreaterThan(bytes.length);
        if (plain.status === "done") expect(plain.length).toBeLessThanOrEqual(bytes.length);

        const surrounded = Buffer.concat([Buffer.alloc(before, "PROXY "), bytes, Buffer.alloc(20, "\r\n")]);
        const reader = new ProxyHeaderReader();
        const status = reader.read(surrounded, before, before + bytes.length);
        const names = { partial: "PARTIAL", none: "NONE", invalid: "INVALID", done: "DONE" } as const;
        expect(status).toBe(HeaderStatus[names[plain.status]]);
        if (plain.status === "done") expect(reader.length).toBe(plain.length);
      }),
      { numRuns: 3000 },
    );
  });

  it("a reader remembers nothing of the headers before", () => {
    const reader = new ProxyHeaderReader();
    fc.assert(
      fc.property(anything, (bytes) => {
        const fresh = new ProxyHeaderReader();
        const status = fresh.read(bytes, 0, bytes.length);
        expect(reader.read(bytes, 0, bytes.length)).toBe(status);
        if (status !== HeaderStatus.DONE) return;
        expect([reader.isTold, reader.isLocal, reader.length]).toEqual([fresh.isTold, fresh.isLocal, fresh.length]);
        if (fresh.isTold) expect([reader.source, reader.destination]).toEqual([fresh.source, fresh.destination]);
      }),
      { numRuns: 1000 },
    );
  });

  it("facts without anything give the shortest headers", () => {
    expect(header(1, {}).toString()).toBe("PROXY UNKNOWN\r\n");
    expect(header(2, {}).toString("hex")).toBe("0d0a0d0a000d0a515549540a21000000");
    expect(factsOf({}).authorityLength).toBe(0);
  });
});
