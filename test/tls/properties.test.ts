import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ClientHelloReader } from "../../src/tls/client-hello.js";
import { Status } from "../../src/tls/outcome.js";
import { type Facts, facts, read } from "./facts.js";
import { guard } from "./guard.js";
import { buildHello, extension, type HelloSpec, messageOf, records, sslv2Hello } from "./hello-builder.js";
import { readsUntilDone } from "./prefixes.js";
import { vectors } from "./vectors.js";

const runs = { numRuns: 500 };

const NAME = /^(?!.*\.\.)(?!\.)[a-z0-9._-]{1,255}(?<!\.)$/;

const label = fc.stringMatching(/^[A-Za-z0-9_-]{1,20}$/);
/** The last label keeps it from being an address. */
const name = fc.tuple(
  fc.array(label, { maxLength: 5 }),
  fc.constantFrom("com", "Example", "x-1"),
  fc.constantFrom("", "."),
);
const hostName = name.map(([labels, last, dot]) => `${[...labels, last].join(".")}${dot}`);
const protocol = fc.uint8Array({ minLength: 1, maxLength: 255 });

const knownTypes = new Set([0, 16, 21, 43, 0xfe0d]);
const others = fc
  .uniqueArray(fc.tuple(fc.nat(0xffff), fc.uint8Array({ maxLength: 100 })), {
    selector: ([type]) => type,
    maxLength: 20,
  })
  .map((list) => list.filter(([type]) => !knownTypes.has(type)).map(([type, data]) => extension(type, data)));

const spec: fc.Arbitrary<HelloSpec> = fc.record(
  {
    recordVersion: fc.nat(255).map((minor) => 0x0300 + minor),
    legacyVersion: fc.nat(255).map((minor) => 0x0300 + minor),
    random: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    sessionId: fc.uint8Array({ maxLength: 32 }),
    cipherSuites: fc.array(fc.nat(0xffff), { minLength: 1, maxLength: 100 }),
    compressionMethods: fc.array(fc.nat(255), { minLength: 1, maxLength: 10 }),
    serverName: hostName,
    alpn: fc.array(protocol, { minLength: 1, maxLength: 8 }),
    versions: fc.array(fc.nat(0xffff), { minLength: 1, maxLength: 20 }),
    ech: fc.nat(300),
    extensions: others,
  },
  { requiredKeys: ["extensions"] },
);
const sizes = fc.array(fc.integer({ min: 1, max: 600 }), { minLength: 1, maxLength: 12 });

function expectedOf(spec: HelloSpec): Partial<Extract<Facts, { status: "done" }>> {
  const legacyVersion = spec.legacyVersion ?? 0x0303;
  return {
    serverName: spec.serverName === undefined ? undefined : String(spec.serverName).toLowerCase().replace(/\.$/, ""),
    ipLiteral: false,
    alpn: (spec.alpn ?? []).map((protocol) => Buffer.from(protocol as Uint8Array).toString("latin1")),
    maxVersion: spec.versions ? Math.max(0, ...spec.versions.filter((v) => v >> 8 === 3)) : legacyVersion,
    legacyVersion,
    ech: spec.ech !== undefined,
    sslv2: false,
  };
}

describe("what goes into a hello comes out of it", () => {
  test("in whatever records", () => {
    fc.assert(
      fc.property(spec, sizes, (hello, recordSizes) => {
        const bytes = buildHello({ ...hello, recordSizes });
        expect(read(bytes, { maxLength: 60_000 })).toEqual({
          status: "done",
          ...expectedOf(hello),
          length: bytes.length,
        });
      }),
      runs,
    );
  });

  test("wherever it is cut: each part is partial, asks for more than it has and for no more than there is", () => {
    fc.assert(
      fc.property(spec, sizes, fc.nat(), (hello, recordSizes, at) => {
        const bytes = buildHello({ ...hello, recordSizes });
        fc.pre(bytes.length <= 16384);
        const cut = at % bytes.length;
        const result = read(bytes.subarray(0, cut));
        expect(result.status).toBe("partial");
        const { needed } = result as { needed: number };
        expect(needed).toBeGreaterThan(cut);
        expect(needed).toBeLessThanOrEqual(bytes.length);
        readsUntilDone(bytes);
      }),
      runs,
    );
  });
});

const seeds = [...vectors.map((vector) => vector.bytes), sslv2Hello(), sslv2Hello({ sessionId: 16, cipherSpecs: 20 })];
const seed = fc.tuple(fc.constantFrom(...seeds), fc.option(sizes)).map(([bytes, recordSizes]) => {
  return recordSizes === null || bytes[0] !== 22 ? bytes : records(messageOf(bytes), recordSizes);
});

/** A change at a place that is given as a share of the length, so that it fits every hello. */
const change = fc.record({
  kind: fc.constantFrom("flip", "set", "insert", "delete", "truncate", "repeat"),
  place: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  // Half of them near the start, where the lengths are.
  early: fc.boolean(),
  bytes: fc.uint8Array({ minLength: 1, maxLength: 6 }),
});
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

function applied(bytes: Uint8Array, { kind, place, early, bytes: given }: Change): Uint8Array {
  if (bytes.length === 0) return bytes;
  const at = Math.floor(place * (early ? Math.min(bytes.length, 160) : bytes.length));
  const list = Array.from(bytes);
  if (kind === "flip") list[at] ^= 1 << (given[0] & 7);
  else if (kind === "set") list.splice(at, given.length, ...given);
  else if (kind === "insert") list.splice(at, 0, ...given);
  else if (kind === "delete") list.splice(at, given.length);
  else if (kind === "truncate") list.length = at;
  else list.splice(at, 0, ...list.slice(at, at + given[0]));
  return Uint8Array.from(list);
}
const mutated = fc
  .tuple(seed, fc.array(change, { minLength: 1, maxLength: 4 }))
  .map(([bytes, changes]) => changes.reduce(applied, bytes));

describe("whatever bytes come", () => {
  const reader = new ClientHelloReader();
  const inputs = fc.oneof(
    { weight: 8, arbitrary: mutated },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }) },
  );

  test("nothing is thrown, nothing is read outside their range, and a name has only a name's characters", () => {
    fc.assert(
      fc.property(inputs, (input) => {
        const { bytes, start, end } = guard(input);
        const status = reader.read(bytes, start, end);
        if (status === Status.PARTIAL) {
          expect(reader.needed).toBeGreaterThan(input.length);
          expect(reader.needed).toBeLessThanOrEqual(16384);
        }
        if (status === Status.DONE) {
          const { serverName, length } = facts(reader, status) as Extract<Facts, { status: "done" }>;
          if (serverName !== undefined) expect(serverName).toMatch(NAME);
          expect(length).toBeLessThanOrEqual(input.length);
        } else {
          expect(reader.nameLength).toBe(0);
        }
      }),
      { numRuns: 3000 },
    );
  });

  test("what is decided stays decided when more comes, and what is not decided was not decided before", () => {
    fc.assert(
      fc.property(inputs, fc.nat(), (input, at) => {
        const whole = read(input);
        const part = read(input.subarray(0, input.length === 0 ? 0 : at % input.length));
        if (part.status !== "partial") expect(part).toEqual(whole);
        else if (whole.status === "partial") expect(part.needed).toBeLessThanOrEqual(whole.needed);
      }),
      { numRuns: 3000 },
    );
  });

  test("a reader that has read other bytes before reads these as a new one does", () => {
    fc.assert(
      fc.property(inputs, inputs, (before, input) => {
        reader.read(before, 0, before.length);
        const used = facts(reader, reader.read(input, 0, input.length));
        const fresh = new ClientHelloReader();
        expect(used).toEqual(facts(fresh, fresh.read(input, 0, input.length)));
      }),
      { numRuns: 1000 },
    );
  });
});
