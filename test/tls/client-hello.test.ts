import { describe, expect, test } from "vitest";
import { ClientHelloReader } from "../../src/tls/client-hello.js";
import { type InvalidReason, Status } from "../../src/tls/outcome.js";
import { done, facts, read, readGuarded } from "./facts.js";
import { guard } from "./guard.js";
import {
  browserHello,
  buildHello,
  concat,
  handshake,
  helloBody,
  patched,
  postQuantumHello,
  records,
  serverNameExtension,
  sslv2Hello,
  toBytes,
  vector16,
} from "./hello-builder.js";
import { expectPartialUntilDone, expectRefused } from "./prefixes.js";

const invalid = (reason: InvalidReason) => ({ status: "invalid", reason }) as const;
const inRecord = (body: Uint8Array) => records(handshake(1, body));

describe("the hello's own fields", () => {
  test.each([0, 1, 16, 32])("a session id of %i bytes is right", (length) => {
    expect(read(buildHello({ serverName: "a", sessionId: new Uint8Array(length) }))).toMatchObject({ serverName: "a" });
  });

  test.each([33, 64, 255])("a session id of %i bytes is too long", (length) => {
    expectRefused(buildHello({ serverName: "a", sessionId: new Uint8Array(length) }), invalid("session_id_length"));
  });

  test("no cipher suites are refused", () => {
    expectRefused(buildHello({ cipherSuites: [] }), invalid("cipher_suites_length"));
  });

  test("an odd length of cipher suites is refused", () => {
    const body = helloBody({ sessionId: "", serverName: "a" });
    expectRefused(inRecord(patched(body, 35, [0, 5])), invalid("cipher_suites_length"));
  });

  test("no compression methods are refused", () => {
    expectRefused(buildHello({ compressionMethods: [] }), invalid("compression_methods_length"));
  });

  test("compression methods of old clients are right", () => {
    expect(read(buildHello({ serverName: "a", compressionMethods: [1, 0] }))).toMatchObject({ serverName: "a" });
  });
});

describe("the extensions block", () => {
  test("may be missing: clients older than TLS 1.2", () => {
    const bytes = buildHello({ withoutExtensions: true });
    expect(expectPartialUntilDone(bytes)).toEqual(done({ length: bytes.length }));
  });

  test("may be empty", () => {
    const bytes = buildHello({ extensions: [] });
    expect(read(bytes)).toEqual(done({ length: bytes.length }));
  });

  test("that is longer than the hello is refused", () => {
    const body = concat(helloBody({ withoutExtensions: true }), [0, 20], serverNameExtension("a.example"));
    expectRefused(inRecord(body), invalid("length_overruns_parent"));
  });

  test("that is shorter than the rest of the hello is refused", () => {
    const body = concat(helloBody({ serverName: "a.example" }), [0]);
    expectRefused(inRecord(body), invalid("trailing_bytes"));
  });

  test("without its whole length is refused", () => {
    expectRefused(inRecord(concat(helloBody({ withoutExtensions: true }), [0])), invalid("length_overruns_parent"));
  });
});

test("a message that ends anywhere inside its fields is refused, except where the extensions block may be missing", () => {
  const body = helloBody({ serverName: "a.example", alpn: ["h2"] });
  const withoutExtensions = helloBody({ withoutExtensions: true }).length;
  for (let length = 0; length < body.length; length++) {
    const result = readGuarded(inRecord(body.subarray(0, length)));
    if (length === withoutExtensions) expect(result).toMatchObject({ status: "done", serverName: undefined });
    else expect(result, `body of ${length}`).toEqual(invalid("length_overruns_parent"));
  }
});

test("a message longer than its fields is refused", () => {
  const body = helloBody({ serverName: "a.example" });
  for (const length of [1, 2, 4, 100]) {
    expect(read(inRecord(concat(body, new Uint8Array(length))))).toEqual(invalid("trailing_bytes"));
  }
});

test("every length field, one too much or too little, is refused", () => {
  const spec = { sessionId: "abcd", serverName: "a.example", alpn: ["h2"], versions: [0x0304] };
  const bytes = buildHello(spec);
  expect(read(bytes)).toMatchObject({ status: "done", serverName: "a.example" });
  const at = (piece: string | Uint8Array) => Buffer.from(bytes).indexOf(Buffer.from(toBytes(piece)));
  const name = at("a.example");
  const h2 = at("h2");
  const version = Buffer.from(bytes).lastIndexOf(Buffer.from([3, 4]));
  const lengths: Record<string, { offset: number; more: InvalidReason; less: InvalidReason }> = {
    "server_name extension": { offset: name - 6, more: "trailing_bytes", less: "length_overruns_parent" },
    "server name list": { offset: name - 4, more: "length_overruns_parent", less: "trailing_bytes" },
    host_name: { offset: name - 1, more: "length_overruns_parent", less: "length_overruns_parent" },
    "ALPN list": { offset: h2 - 2, more: "length_overruns_parent", less: "trailing_bytes" },
    protocol: { offset: h2 - 1, more: "length_overruns_parent", less: "length_overruns_parent" },
    "supported_versions extension": {
      offset: version - 2,
      more: "length_overruns_parent",
      less: "length_overruns_parent",
    },
    versions: { offset: version - 1, more: "length_overruns_parent", less: "trailing_bytes" },
    "extensions block": { offset: name - 10, more: "length_overruns_parent", less: "trailing_bytes" },
  };
  for (const [field, { offset, more, less }] of Object.entries(lengths)) {
    expect(read(patched(bytes, offset, [bytes[offset] + 1])), `${field} + 1`).toEqual(invalid(more));
    expect(read(patched(bytes, offset, [bytes[offset] - 1])), `${field} - 1`).toEqual(invalid(less));
  }
});

describe("ClientHelloReader", () => {
  test("forgets one hello before it reads the next", () => {
    const reader = new ClientHelloReader();
    const rich = [postQuantumHello("rich.example"), buildHello({ serverName: "192.0.2.1" }), sslv2Hello()];
    const plain = buildHello({ withoutExtensions: true });
    const others = [
      plain,
      new Uint8Array(0),
      rich[0].subarray(0, 100),
      toBytes("GET /"),
      buildHello({ cipherSuites: [] }),
    ];
    for (const before of rich) {
      for (const other of others) {
        const fresh = new ClientHelloReader();
        const status = fresh.read(other, 0, other.length);
        expect(reader.read(before, 0, before.length)).toBe(Status.DONE);
        expect(reader.needed).toBe(0);
        expect(facts(reader, reader.read(other, 0, other.length))).toEqual(facts(fresh, status));
        expect(reader.nameLength).toBe(0);
        expect(reader.alpnCount + reader.alpnLength + reader.alpnOffset + reader.alpnStart + reader.alpnEnd).toBe(0);
        expect(reader.versionsStart + reader.versionsEnd).toBe(0);
        expect([reader.ech, reader.ipLiteral, reader.sslv2]).toEqual([false, false, false]);
        if (status !== Status.DONE) expect(reader.maxVersion + reader.legacyVersion + reader.length).toBe(0);
      }
    }
  });

  test("has no name after a hello that is refused behind its name", () => {
    const reader = new ClientHelloReader();
    const bytes = buildHello({ serverName: "a.example", extensions: [serverNameExtension("b.example")] });
    expect(reader.read(bytes, 0, bytes.length)).toBe(Status.INVALID);
    expect(reader.nameLength).toBe(0);
    expect(reader.ipLiteral).toBe(false);
  });

  test("reads each byte of a hello about once", () => {
    const reader = new ClientHelloReader();
    const { bytes, start, end, reads } = guard(browserHello());
    expect(reader.read(bytes, start, end)).toBe(Status.DONE);
    expect(reads()).toBeLessThan(517);
  });

  test("takes an empty or inverted range for no bytes", () => {
    const reader = new ClientHelloReader();
    const bytes = browserHello();
    expect(reader.read(bytes, 10, 10)).toBe(Status.PARTIAL);
    expect(reader.read(bytes, 10, 5)).toBe(Status.PARTIAL);
    expect(reader.needed).toBe(1);
  });
});

test("the builder's hellos have the sizes that are measured with", () => {
  expect(browserHello()).toHaveLength(517);
  expect(postQuantumHello()).toHaveLength(1800);
  expect(read(browserHello("b.example"))).toMatchObject({
    serverName: "b.example",
    alpn: ["h2", "http/1.1"],
    maxVersion: 0x0304,
    ech: false,
  });
  expect(read(postQuantumHello("b.example"))).toMatchObject({ serverName: "b.example", ech: true });
  expect(vector16("ab")).toEqual(Uint8Array.of(0, 2, 0x61, 0x62));
});
