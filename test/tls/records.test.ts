import { describe, expect, test } from "vitest";
import { ClientHelloReader } from "../../src/tls/client-hello.js";
import { Status } from "../../src/tls/outcome.js";
import { done, read } from "./facts.js";
import { guard } from "./guard.js";
import {
  buildHello,
  concat,
  extension,
  handshake,
  helloBody,
  messageOf,
  patched,
  postQuantumHello,
  record,
  records,
} from "./hello-builder.js";
import { expectPartialUntilDone, expectRefused, readsUntilDone } from "./prefixes.js";

const hello = buildHello({ serverName: "a.example" });
const message = messageOf(hello);
const found = done({ serverName: "a.example" });

describe("not TLS", () => {
  test.each([
    ["an HTTP request", "GET / HTTP/1.1\r\n\r\n"],
    ["an SSH greeting", "SSH-2.0-OpenSSH_9.2\r\n"],
    ["a PROXY header that no one asked for", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"],
    ["a TLS alert", [21, 3, 3, 0, 2, 1, 0]],
    ["TLS application data", [23, 3, 3, 0, 1, 0]],
    ["a byte 0", [0]],
    ["record type handshake with major version 2", [22, 2, 0, 0, 5]],
    ["DTLS 1.2, whose versions count down", [22, 0xfe, 0xfd, 0, 0]],
  ])("%s is told from its first bytes on", (_, start) => {
    const bytes = concat(start);
    expectRefused(bytes, { status: "notTls" });
    const decided = bytes[0] === 22 ? 2 : 1;
    expect(read(bytes.subarray(0, decided))).toEqual({ status: "notTls" });
  });

  test("nothing at all is partial: a client may be slow, or wait for the server to speak first", () => {
    expect(read(new Uint8Array(0))).toEqual({ status: "partial", needed: 1 });
  });
});

describe("record and hello versions", () => {
  test.each([0x0300, 0x0301, 0x0303, 0x0304, 0x03ff])(
    "record version %i: the minor number does not count",
    (version) => {
      expect(read(buildHello({ serverName: "a.example", recordVersion: version }))).toMatchObject(found);
    },
  );

  test.each([0x0300, 0x0301, 0x0302, 0x0304, 0x03ff])(
    "legacy_version %i: the minor number does not count",
    (version) => {
      expect(read(buildHello({ serverName: "a.example", legacyVersion: version }))).toMatchObject({
        ...found,
        legacyVersion: version,
        maxVersion: version,
      });
    },
  );

  test.each([0x0000, 0x0200, 0x0403, 0xfefd])("legacy_version %i is refused", (version) => {
    expectRefused(buildHello({ legacyVersion: version }), { status: "invalid", reason: "legacy_version" });
  });

  test("a second record may have another minor version, but not another major one", () => {
    const first = record(22, message.subarray(0, 30), 0x0301);
    expect(read(concat(first, record(22, message.subarray(30), 0x0303)))).toMatchObject(found);
    expectRefused(concat(first, record(22, message.subarray(30), 0x0201)), {
      status: "invalid",
      reason: "record_version",
    });
  });
});

describe("record lengths", () => {
  test("16384 bytes fit one record", () => {
    const full = buildHello({ serverName: "a.example", totalLength: 5 + 16384 });
    expect(read(full, { maxLength: 20_000 })).toMatchObject(found);
  });

  test("16385 bytes do not, which its header tells", () => {
    expectRefused(concat([22, 3, 1, 0x40, 0x01]), { status: "invalid", reason: "record_length" });
    expectRefused(concat(record(22, message.subarray(0, 30)), [22, 3, 1, 0x40, 0x01]), {
      status: "invalid",
      reason: "record_length",
    });
  });

  test.each([
    ["first", [0]],
    ["second", [3, 0]],
    ["third, with the whole header before it", [2, 30, 0]],
  ])("an empty record is refused where it is the %s", (_, sizes) => {
    expectRefused(records(message, [...sizes, 100]), { status: "invalid", reason: "zero_length_record" });
  });

  test("an empty record after the hello is not looked at", () => {
    expect(read(concat(hello, record(22, "")))).toMatchObject({ ...found, length: hello.length });
  });
});

describe("records that are not the hello's", () => {
  test.each([20, 21, 23, 24, 0])("type %i in the middle of the hello is refused", (type) => {
    for (const cut of [1, 3, 4, 5, message.length - 1]) {
      expectRefused(concat(record(22, message.subarray(0, cut)), record(type, message.subarray(cut))), {
        status: "invalid",
        reason: "not_a_handshake",
      });
    }
  });

  test("early data and change_cipher_spec after the hello are left to the backend", () => {
    const followed = concat(hello, record(20, [1], 0x0303), record(23, new Uint8Array(300), 0x0303));
    expect(read(followed)).toMatchObject({ ...found, length: hello.length });
  });

  test.each([0, 2, 11, 20, 0xff])("handshake type %i is no hello, which its first byte tells", (type) => {
    const bytes = records(handshake(type, helloBody()));
    expectRefused(bytes, { status: "invalid", reason: "not_a_client_hello" });
    expect(read(bytes.subarray(0, 6))).toEqual({ status: "invalid", reason: "not_a_client_hello" });
  });

  test.each([
    ["one byte", [0]],
    ["another hello", message],
    ["a Finished", handshake(20, new Uint8Array(12))],
  ])("%s behind the hello in its record is refused, before it has come", (_, appendix) => {
    const bytes = buildHello({ serverName: "a.example", appendix });
    expectRefused(bytes, { status: "invalid", reason: "handshake_after_hello" });
    expect(read(bytes.subarray(0, 9))).toEqual({ status: "invalid", reason: "handshake_after_hello" });
    expectRefused(buildHello({ serverName: "a.example", appendix, recordSizes: [50, 1000] }), {
      status: "invalid",
      reason: "handshake_after_hello",
    });
  });

  test("a hello in a record of its own may be followed by another handshake record", () => {
    expect(read(concat(hello, records(message)))).toMatchObject({ ...found, length: hello.length });
  });
});

describe("splitting", () => {
  test.each([
    ["a small hello", hello],
    ["a post-quantum hello", postQuantumHello("a.example")],
  ])("%s in any two records, and in any records of one size", (_, whole) => {
    const inner = messageOf(whole);
    for (let size = 1; size < inner.length; size++) {
      for (const sizes of [[size], [size, 16384]]) {
        const split = records(inner, sizes);
        const result = read(split, { maxLength: 20_000 });
        if (result.status !== "done" || result.serverName !== "a.example" || result.length !== split.length) {
          expect(result, `record sizes ${sizes}`).toMatchObject({ ...found, length: split.length });
        }
      }
    }
  });

  test("every split point of records of 1 byte, and of a record that ends inside the handshake header", () => {
    for (const sizes of [[1], [2], [3], [4], [3, 1, 1, 200], [1, 2, 16384]]) {
      expectPartialUntilDone(records(message, sizes));
    }
  });

  test("the first record's header is asked for together with the message's, then the rest", () => {
    const needed = (length: number) => (read(hello.subarray(0, length)) as { needed: number }).needed;
    expect([0, 1, 5, 8].map(needed)).toEqual([1, 9, 9, 9]);
    expect([9, 10, hello.length - 1].map(needed)).toEqual([hello.length, hello.length, hello.length]);
  });

  test("between two records, all that is missing is asked for with one more record header", () => {
    const split = records(message, [10, 20, 16384]);
    const needed = (length: number) => (read(split.subarray(0, length)) as { needed: number }).needed;
    expect(needed(9)).toBe(15 + 5 + message.length - 10);
    expect(needed(19)).toBe(needed(9));
    expect(needed(20)).toBe(15 + 25 + 5 + message.length - 30);
    expect(needed(44)).toBe(split.length);
  });

  test("after a record that ends inside the message's header, so many of its bytes count as there", () => {
    const split = records(message, [1, 2, 16384]);
    const needed = (length: number) => (read(split.subarray(0, length)) as { needed: number }).needed;
    // 4 bytes of header in all: 1 in the record of 6 bytes, 2 in that of 7, 1 in the third. A record's own header tells.
    expect([0, 1, 4].map(needed)).toEqual([1, 9, 9]);
    expect([5, 6, 10].map(needed)).toEqual([6 + 5 + 3, 14, 14]);
    expect([11, 13, 18].map(needed)).toEqual([13 + 5 + 1, 19, 19]);
    expect(needed(19)).toBe(split.length);
  });

  test("a hello in one record is not copied", () => {
    const reader = new ClientHelloReader();
    const bytes = buildHello({ alpn: ["h2"] });
    expect(reader.read(bytes, 0, bytes.length)).toBe(Status.DONE);
    expect(reader.source).toBe(bytes);
    const split = records(messageOf(bytes), [20]);
    expect(reader.read(split, 0, split.length)).toBe(Status.DONE);
    expect(reader.source).not.toBe(split);
  });

  test("a hello may lie anywhere in a buffer", () => {
    const reader = new ClientHelloReader();
    for (const inner of [hello, records(message, [7])]) {
      const { bytes, start, end } = guard(inner);
      expect(reader.read(bytes, start, end)).toBe(Status.DONE);
      expect(reader.length).toBe(inner.length);
      expect(Buffer.from(reader.name.subarray(0, reader.nameLength)).toString()).toBe("a.example");
    }
  });
});

describe("the limit on the whole", () => {
  const tooLong = { status: "invalid", reason: "too_long" } as const;
  const big = (length: number, recordSizes?: number[]) =>
    buildHello({ serverName: "a.example", totalLength: length, ...(recordSizes && { recordSizes }) });

  test("is 16384 bytes of records, headers included, by default", () => {
    expect(read(big(16384))).toMatchObject(found);
    expectRefused(big(16385), tooLong);
  });

  test("is told as soon as the message's length is known", () => {
    expect(read(big(16385).subarray(0, 9))).toEqual(tooLong);
    expect(read(patched(hello, 6, [0xff, 0xff, 0xff]).subarray(0, 9))).toEqual(tooLong);
  });

  test("counts the headers of many records", () => {
    const sizes = [100];
    expect(read(big(16380, sizes))).toMatchObject(found);
    expect(read(big(16400, sizes))).toEqual(tooLong);
    // 3,000 bytes in records of 1 byte take 18,000.
    const tiny = records(messageOf(big(3000)), [1]);
    expect(read(tiny)).toEqual(tooLong);
    // 4 bytes of header in records of 1 byte, then a lower bound that grows by a record header with each byte.
    const lengths = Array.from({ length: 180 }, (_, i) => i * 100);
    const status = lengths.map((length) => read(tiny.subarray(0, length)).status);
    const decided = status.indexOf("invalid");
    expect(decided).toBeGreaterThan(0);
    expect(status.slice(0, decided)).toEqual(Array.from({ length: decided }, () => "partial"));
    expect(status.slice(decided)).toEqual(Array.from({ length: 180 - decided }, () => "invalid"));
  });

  test("can be set", () => {
    expect(read(big(1000), { maxLength: 1000 })).toMatchObject(found);
    expect(read(big(1001), { maxLength: 1000 })).toEqual(tooLong);
    expect(read(big(60_000, [16384]), { maxLength: 60_000 })).toMatchObject(found);
  });

  test.each([0, 63, 262145, 1.5, Number.NaN, -1])("can't be %d", (maxLength) => {
    expect(() => new ClientHelloReader({ maxLength })).toThrow(RangeError);
    expect(() => new ClientHelloReader({ maxLength })).toThrow(`maxLength is ${maxLength}; it must be`);
  });

  test("the largest hello that the format allows fits the largest limit", () => {
    const full = buildHello({
      cipherSuites: Array.from({ length: 32767 }, () => 0x1301),
      compressionMethods: Array.from({ length: 255 }, () => 0),
      serverName: "a.example",
      extensions: [extension(0x1234, new Uint8Array(65535 - 4 - 18))],
    });
    expect(full.length).toBeGreaterThan(131_000);
    expect(read(full, { maxLength: 262_144 })).toMatchObject(found);
  });
});

test("a client that sends one byte at a time in records of 1 byte causes few reads and no quadratic work", () => {
  const split = records(messageOf(postQuantumHello("a.example")), [1]);
  expect(readsUntilDone(split)).toBeLessThan(60);
  let reads = 0;
  const reader = new ClientHelloReader();
  for (let length = 0; ; ) {
    const guarded = guard(split.subarray(0, length));
    const status = reader.read(guarded.bytes, guarded.start, guarded.end);
    reads += guarded.reads();
    if (status !== Status.PARTIAL) break;
    length = reader.needed;
  }
  expect(reads).toBeLessThan(20 * split.length);
});
