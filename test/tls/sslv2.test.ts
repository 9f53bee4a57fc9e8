import { describe, expect, test } from "vitest";
import { read, readGuarded } from "./facts.js";
import { concat, type Sslv2Spec, sslv2Hello } from "./hello-builder.js";
import { expectPartialUntilDone, expectRefused, readsUntilDone } from "./prefixes.js";

const refusal = { status: "invalid", reason: "sslv2_length" } as const;

describe("an SSLv2-compatible hello (RFC 5246 appendix E.2)", () => {
  test.each<[string, Sslv2Spec]>([
    ["of TLS 1.0 with a challenge of 32 bytes", {}],
    ["of TLS 1.2", { version: 0x0303 }],
    ["of SSL 3.0 with a session id", { version: 0x0300, sessionId: 16, challenge: 16 }],
    ["with many cipher specs", { cipherSpecs: 200 }],
  ])("%s is TLS without a name", (_, spec) => {
    const bytes = sslv2Hello(spec);
    const version = spec.version ?? 0x0301;
    expect(expectPartialUntilDone(bytes)).toEqual({
      status: "done",
      serverName: undefined,
      ipLiteral: false,
      alpn: [],
      maxVersion: version,
      legacyVersion: version,
      ech: false,
      sslv2: true,
      length: bytes.length,
    });
    // With nothing, with the first byte, with the four that tell it, and with all.
    expect(readsUntilDone(bytes)).toBe(4);
  });

  test.each<[string, Sslv2Spec]>([
    ["no cipher specs", { cipherSpecs: 0 }],
    ["a session id of neither 0 nor 16 bytes", { sessionId: 15 }],
    ["a challenge of 15 bytes", { challenge: 15 }],
    ["a challenge of 33 bytes", { challenge: 33 }],
    ["a length that is one too small", { claimed: 43 - 1 }],
    ["a length that is too small for its fields", { claimed: 8 }],
    ["a length of 0", { claimed: 0 }],
  ])("with %s is refused", (_, spec) => {
    expectRefused(sslv2Hello(spec), refusal);
  });

  test("with a length that is too small for its fields is refused from its length on, and not read beyond", () => {
    for (let claimed = 0; claimed < 9; claimed++) {
      const bytes = sslv2Hello({ claimed });
      expect(readGuarded(bytes.subarray(0, 4))).toEqual(refusal);
      expectRefused(bytes.subarray(0, Math.max(4, 2 + claimed)), refusal);
    }
  });

  test("with a length that is one too great waits for it, and is refused then", () => {
    const bytes = sslv2Hello();
    const claimed = sslv2Hello({ claimed: bytes.length - 2 + 1 });
    expect(read(claimed)).toEqual({ status: "partial", needed: bytes.length + 1 });
    expectRefused(concat(claimed, [0]), refusal);
  });

  test("with cipher specs that are no multiple of 3 bytes is refused", () => {
    const message = [1, 3, 1, 0, 4, 0, 0, 0, 16, ...new Uint8Array(20)];
    expectRefused(Uint8Array.of(0x80, message.length, ...message), refusal);
  });

  test("longer than the limit is refused from its length on", () => {
    const bytes = sslv2Hello({ claimed: 16383 }).subarray(0, 4);
    expect(read(bytes)).toEqual({ status: "invalid", reason: "too_long" });
    expect(read(sslv2Hello({ claimed: 16382 }).subarray(0, 4))).toEqual({ status: "partial", needed: 16384 });
  });
});

test.each([
  ["SSL 2.0 itself", sslv2Hello({ version: 0x0002 })],
  ["another SSL 2.0 message", concat([0x80, 0x2b, 4, 3, 1])],
  ["another protocol with a top bit", concat([0xff, 0xfe, 0xfd, 0xfc])],
])("%s is not TLS", (_, bytes) => {
  expectRefused(bytes, { status: "notTls" });
});
