import { describe, expect, test } from "vitest";
import { parseClientHello } from "../../src/tls/index.js";
import { buildHello, messageOf, records, sslv2Hello, toBytes } from "./hello-builder.js";

describe("parseClientHello", () => {
  const spec = {
    serverName: "WWW.example.com.",
    alpn: ["\x0a\x0a\xff", "h2"],
    versions: [0x0a0a, 0x0304, 0x0303],
    ech: 9,
  };
  const bytes = buildHello(spec);
  const hello = {
    status: "done",
    serverName: "www.example.com",
    ipLiteral: false,
    alpn: ["\x0a\x0a\xff", "h2"],
    versions: [0x0a0a, 0x0304, 0x0303],
    ech: true,
    sslv2: false,
    length: bytes.length,
  };

  test("tells what is in a hello", () => {
    expect(parseClientHello(bytes)).toEqual(hello);
  });

  test("tells the same of one that is spread over records", () => {
    const split = records(messageOf(bytes), [11]);
    expect(parseClientHello(split)).toEqual({ ...hello, length: split.length });
  });

  test("tells the same of one inside a larger buffer", () => {
    const large = new Uint8Array(bytes.length + 200).fill(0x16);
    large.set(bytes, 100);
    expect(parseClientHello(large.subarray(100, 100 + bytes.length))).toEqual(hello);
  });

  test("says how many bytes are needed", () => {
    expect(parseClientHello(new Uint8Array(0))).toEqual({ status: "partial", needed: 1 });
    expect(parseClientHello(bytes.subarray(0, 20))).toEqual({ status: "partial", needed: bytes.length });
  });

  test("says what is no TLS, and what is malformed", () => {
    expect(parseClientHello(toBytes("GET /"))).toEqual({ status: "notTls" });
    expect(parseClientHello(buildHello({ serverName: "" }))).toEqual({
      status: "invalid",
      reason: "empty_server_name",
      alert: "decode_error",
    });
  });

  test("gives the hello's own version where supported_versions is missing", () => {
    expect(parseClientHello(buildHello({ legacyVersion: 0x0302 }))).toMatchObject({ versions: [0x0302], alpn: [] });
    expect(parseClientHello(sslv2Hello())).toMatchObject({ versions: [0x0301], sslv2: true, serverName: undefined });
  });

  test("its results stay when the next hello is parsed", () => {
    const first = parseClientHello(bytes);
    parseClientHello(buildHello({ serverName: "other.example", alpn: ["other"] }));
    expect(first).toEqual(hello);
  });

  test("takes a limit of its own", () => {
    expect(parseClientHello(bytes, { maxLength: 100 })).toEqual({
      status: "invalid",
      reason: "too_long",
      alert: "illegal_parameter",
    });
    expect(parseClientHello(bytes, {})).toEqual(hello);
    expect(() => parseClientHello(bytes, { maxLength: 1 })).toThrow("maxLength is 1; it must be");
  });
});
