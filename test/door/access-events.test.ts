import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ADDRESS_BYTES, readAddress, writeAddress } from "../../src/addresses.js";
import {
  type AccessEvent,
  AccessReader,
  createAccessRing,
  type EventFacts,
  outcomes,
  reasons,
  writeEvent,
} from "../../src/door/access-events.js";
import { RingWriter, SMALLEST_RING } from "../../src/door/byte-ring.js";

const time = fc.double({ min: 0, max: 1e13, noNaN: true });
const word = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const text = (bytes: fc.Arbitrary<number>) =>
  fc.array(bytes, { maxLength: 255 }).map((list) => Buffer.from(list).toString("latin1"));

/** An event as the reader gives it, and what the worker has of it. */
const event = fc
  .record({
    generation: word,
    acceptedAt: time,
    connectionId: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(String),
    client: fc.option(fc.record({ family: fc.constant("IPv4" as const), address: fc.ipV4(), port: fc.nat(65_535) }), {
      nil: undefined,
    }),
    proxy: fc.option(fc.record({ family: fc.constant("IPv4" as const), address: fc.ipV4(), port: fc.nat(65_535) }), {
      nil: undefined,
    }),
    listener: fc.integer({ min: -1, max: 300 }),
    protocol: fc.constantFrom("tls", "http"),
    serverName: text(fc.integer({ min: 0x2d, max: 0x7a })),
    alpn: text(fc.nat(255)),
    tlsVersion: fc.nat(0xffff),
    ech: fc.boolean(),
    route: fc.record({
      kind: fc.constantFrom(-1, 0, 1, 2, 3, 4),
      length: fc.nat(255),
      rule: fc.integer({ min: -1, max: 254 }),
      pattern: fc.integer({ min: -1, max: 65_534 }),
    }) as fc.Arbitrary<AccessEvent["route"]>,
    backend: fc.integer({ min: -1, max: 1e6 }),
    pid: fc.integer({ min: -1, max: 2 ** 22 }),
    outcome: fc.constantFrom(...outcomes),
    reason: fc.constantFrom(...reasons),
    waited: time,
    held: time,
    handoff: time,
    total: time,
  })
  .map((event): AccessEvent => event);

function factsOf(event: AccessEvent): EventFacts {
  const { connectionId, client, proxy, protocol, serverName, alpn, route, outcome, reason, ...same } = event;
  const addresses = new Uint8Array(3 * ADDRESS_BYTES);
  if (client !== undefined) writeAddress(client, addresses, ADDRESS_BYTES);
  const proxies = new Uint8Array(3 * ADDRESS_BYTES);
  if (proxy !== undefined) writeAddress(proxy, proxies, ADDRESS_BYTES);
  return {
    ...same,
    idLow: Number(BigInt(connectionId) & 0xffffffffn),
    idHigh: Number(BigInt(connectionId) >> 32n),
    addresses,
    addressStart: ADDRESS_BYTES,
    proxies,
    isProxied: proxy !== undefined,
    isHttp: protocol === "http",
    hello: Buffer.from(`--${serverName}${alpn}--`, "latin1"),
    helloStart: 2,
    nameLength: serverName.length,
    alpnLength: alpn.length,
    routeKind: route.kind,
    routeLength: route.length,
    routeRule: route.rule,
    routePattern: route.pattern,
    outcome: outcomes.indexOf(outcome),
    reason: (reasons as readonly string[]).indexOf(reason),
  };
}

describe("events", () => {
  it("are read as they were written", () => {
    const memory = createAccessRing(1 << 14);
    const [writer, reader] = [new RingWriter(memory), new AccessReader(memory)];
    fc.assert(
      fc.property(fc.array(event, { maxLength: 20 }), (events) => {
        for (const each of events) writeEvent(writer, factsOf(each));
        const seen: AccessEvent[] = [];
        expect(reader.read((each) => seen.push(each))).toBe(events.length);
        expect(seen).toEqual(events);
      }),
    );
    expect(reader.dropped).toBe(0);
  });

  it("are read as many at a time as wanted, and counted when there is no room for them", () => {
    const memory = createAccessRing(SMALLEST_RING);
    const [writer, reader] = [new RingWriter(memory), new AccessReader(memory)];
    const [sample] = fc.sample(event, 1);
    for (let i = 0; i < 50; i++)
      writeEvent(writer, factsOf({ ...sample!, generation: i, serverName: "a.test", alpn: "" }));
    const seen: number[] = [];
    const take = ({ generation }: AccessEvent) => seen.push(generation);
    expect(reader.read(take, 2)).toBe(2);
    const more = reader.read(take);
    expect(2 + more + reader.dropped).toBe(50);
    expect(seen).toEqual(Array.from({ length: 2 + more }, (_, i) => i));
    expect(reader.read(take)).toBe(0);
  });

  it("can tell every outcome and reason in a byte, and an address in its own", () => {
    expect(outcomes.length).toBeLessThan(256);
    expect(reasons.length).toBeLessThan(256);
    expect(new Set(reasons).size).toBe(reasons.length);
    expect(readAddress(new Uint8Array(ADDRESS_BYTES), 0)).toBeUndefined();
  });
});
