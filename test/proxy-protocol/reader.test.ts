import { describe, expect, it } from "vitest";
import { LONGEST_HEADER, parseProxyHeader } from "../../src/proxy-protocol/index.js";
import { v2 } from "./support.js";

const parse = (text: string) => parseProxyHeader(Buffer.from(text, "latin1"));
const ipv4 = (address: string, port: number) => ({ family: "IPv4", address, port });
const ipv6 = (address: string, port: number) => ({ family: "IPv6", address, port });
const invalid = (reason: string) => ({ status: "invalid", reason });
const longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";

describe("version 1", () => {
  it.each([
    ["PROXY TCP4 192.0.2.1 198.51.100.7 56324 443", ipv4("192.0.2.1", 56324), ipv4("198.51.100.7", 443)],
    ["PROXY TCP4 255.255.255.255 0.0.0.0 65535 0", ipv4("255.255.255.255", 65535), ipv4("0.0.0.0", 0)],
    ["PROXY TCP6 2001:DB8::1 2001:db8::2 1 2", ipv6("2001:db8::1", 1), ipv6("2001:db8::2", 2)],
    ["PROXY TCP6 :: ::1 1 2", ipv6("::", 1), ipv6("::1", 2)],
    ["PROXY TCP6 fe80:: 1:2:3:4:5:6:7:8 1 2", ipv6("fe80::", 1), ipv6("1:2:3:4:5:6:7:8", 2)],
    ["PROXY TCP6 64:ff9b::192.0.2.1 1::8 1 2", ipv6("64:ff9b::c000:201", 1), ipv6("1::8", 2)],
    [`PROXY TCP6 ${longest} ${longest} 65535 65535`, ipv6(longest, 65535), ipv6(longest, 65535)],
  ])("%s", (line, source, destination) => {
    const length = line.length + 2;
    const expected = { status: "done", version: 1, length, local: false, source, destination };
    expect(parse(`${line}\r\nmore`)).toEqual(expected);
  });

  it("an IPv4-mapped address is the IPv4 address, as it is for the peers of a socket that takes both", () => {
    expect(parse("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c633:6407 1 2\r\n")).toMatchObject({
      source: ipv4("192.0.2.1", 1),
      destination: ipv4("198.51.100.7", 2),
    });
  });

  it.each(["PROXY UNKNOWN", "PROXY UNKNOWN anything at all 1", `PROXY UNKNOWN ${longest} ${longest} 65535 65535`])(
    "%s tells no address",
    (line) => {
      expect(parse(`${line}\r\n`)).toMatchObject({ status: "done", source: undefined, destination: undefined });
    },
  );

  it.each([
    ["PROXY UNKNOWNS\r\n", "proxy_protocol"],
    ["PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n", "proxy_protocol"],
    ["PROXY tcp4 1.1.1.1 1.1.1.1 1 1\r\n", "proxy_protocol"],
    ["PROXY  TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "proxy_protocol"],
    ["PROXY \r\n1234567890", "proxy_protocol"],
    ["PROXY TCP4\r\n1234567890", "proxy_protocol"],
    ["PROXY TCP4 1.1.1.1\r\n", "proxy_address"],
    ["PROXY TCP4 1.1.1 1.1.1.1 1 1\r\n", "proxy_address"],
    ["PROXY TCP4 1.1.1.1.1 1.1.1.1 1 1\r\n", "proxy_address"],
    ["PROXY TCP4 01.1.1.1 1.1.1.1 1 1\r\n", "proxy_address"],
    ["PROXY TCP4 1.1.1.256 1.1.1.1 1 1\r\n", "proxy_address"],
    ["PROXY TCP4 1.1.1.-1 1.1.1.1 1 1\r\n", "proxy_address"],
    ["PROXY TCP4 1.1.1.1  1.1.1.1 1 1\r\n", "proxy_address"],
    ["PROXY TCP4 ::1 ::1 1 1\r\n", "proxy_address"],
    ["PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n", "proxy_address"],
    ["PROXY TCP6 1:2:3:4:5:6:7 ::1 1 1\r\n", "proxy_address"],
    ["PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 1\r\n", "proxy_address"],
    ["PROXY TCP6 1:2:3:4::5:6:7:8 ::1 1 1\r\n", "proxy_address"],
    ["PROXY TCP6 1::2::3 ::1 1 1\r\n", "proxy_address"],
    ["PROXY TCP6 ::: ::1 1 1\r\n", "proxy_address"],
    ["PROXY TCP6 :1 ::1 1 1\r\n", "proxy_address"],
    ["PROXY TCP6 1:2:3:4:5:6:7: ::1 1 1\r\n", "proxy_address"],
    ["PROXY TCP6 12345::1 ::1 1 1\r\n", "proxy_address"],
    ["PROXY TCP6 ::g ::1 1 1\r\n", "proxy_address"],
    ["PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n", "proxy_address"],
    ["PROXY TCP6 1:2:3:4:5:6:7:1.2.3.4 ::1 1 1\r\n", "proxy_address"],
    ["PROXY TCP6 ::1.2.3.4:5 ::1 1 1\r\n", "proxy_address"],
    ["PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n", "proxy_port"],
    ["PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r\n", "proxy_port"],
    ["PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n", "proxy_port"],
    ["PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n", "proxy_port"],
    ["PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n", "proxy_port"],
    ["PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n", "proxy_port"],
    ["PROXY TCP4 1.1.1.1 1.1.1.1 1 \r\n", "proxy_port"],
    ["PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n", "proxy_line_end"],
    ["PROXY TCP4 1.1.1.1 1.1.1.1 1 1\rx", "proxy_line_end"],
    ["PROXY \n", "proxy_line_end"],
    [`PROXY UNKNOWN ${"x".repeat(92)}\r\n`, "proxy_too_long"],
    [`PROXY UNKNOWN ${"x".repeat(200)}`, "proxy_too_long"],
  ])("%j is refused", (text, reason) => {
    expect(parse(text)).toEqual(invalid(reason));
  });

  it("of 107 bytes is the longest", () => {
    expect(parse(`PROXY UNKNOWN ${"x".repeat(91)}\r\n`)).toMatchObject({ status: "done", length: 107 });
  });

  it("is not begun by what only looks like it", () => {
    for (const text of ["PROXX", "PROXY\t", "proxy TCP4", "GET /", "\x16\x03\x01", "\r\n\r\n\0\r\nQUIT\r"]) {
      expect(parse(text), JSON.stringify(text)).toEqual({ status: "none" });
    }
  });

  it("asks for as many bytes as there must be at least", () => {
    expect(parse("")).toEqual({ status: "partial", needed: 1 });
    expect(parse("P")).toEqual({ status: "partial", needed: 15 });
    expect(parse("PROXY TCP4 192.0.2.1")).toEqual({ status: "partial", needed: 22 });
    expect(parse("PROXY TCP4 192.0.2.1 1.1.1.1 1 1\r")).toEqual({ status: "partial", needed: 34 });
  });
});

const addresses4 = Buffer.from("c0000201c6336407dc0401bb", "hex");
const told4 = { source: ipv4("192.0.2.1", 56324), destination: ipv4("198.51.100.7", 443) };
const addresses6 = Buffer.from(`${"20010db8000000000000000000000001".repeat(2)}dc0401bb`, "hex");
const tlv = (type: number, value: string) => Buffer.from([type, 0, value.length, ...Buffer.from(value)]);

describe("version 2", () => {
  it("over TCP, of either family, with or without TLVs", () => {
    expect(parseProxyHeader(v2(0x21, 0x11, addresses4))).toEqual({
      status: "done",
      version: 2,
      length: 28,
      local: false,
      ...told4,
    });
    const more = Buffer.concat([addresses4, tlv(2, "app.example.com"), tlv(0xee, ""), tlv(1, "h2")]);
    expect(parseProxyHeader(v2(0x21, 0x11, more))).toMatchObject({ status: "done", length: 54, ...told4 });
    expect(parseProxyHeader(v2(0x21, 0x21, addresses6))).toMatchObject({
      status: "done",
      source: ipv6("2001:db8::1", 56324),
      destination: ipv6("2001:db8::1", 443),
    });
  });

  it.each([
    ["UNSPEC", 0x00, 0],
    ["UNSPEC, over TCP", 0x01, 0],
    ["UDP over IPv4", 0x12, 12],
    ["a unix stream socket", 0x31, 216],
  ])("%s tells no address", (_, family, length) => {
    const header = v2(0x21, family, Buffer.concat([Buffer.alloc(length), tlv(5, "id")]));
    expect(parseProxyHeader(header)).toEqual({
      status: "done",
      version: 2,
      length: header.length,
      local: false,
      source: undefined,
      destination: undefined,
    });
  });

  it("LOCAL tells none, whatever else it carries", () => {
    for (const body of [Buffer.alloc(0), addresses4, Buffer.from("nonsense")]) {
      const header = v2(0x20, 0xff, body);
      expect(parseProxyHeader(header)).toMatchObject({ status: "done", local: true, source: undefined });
    }
  });

  it.each([
    ["version 3", v2(0x31, 0x11, addresses4), "proxy_version"],
    ["a command that is none", v2(0x22, 0x11, addresses4), "proxy_command"],
    ["a family that is none", v2(0x21, 0x41, addresses4), "proxy_family"],
    ["a transport that is none", v2(0x21, 0x13, addresses4), "proxy_family"],
    ["no room for its addresses", v2(0x21, 0x11, addresses4.subarray(1)), "proxy_address_length"],
    ["no room for addresses of IPv6", v2(0x21, 0x21, addresses4), "proxy_address_length"],
    ["half a TLV's head", v2(0x21, 0x11, Buffer.concat([addresses4, Buffer.from([4, 0])])), "proxy_tlv"],
    ["a TLV that overruns", v2(0x21, 0x11, Buffer.concat([addresses4, Buffer.from([4, 0, 2, 1])])), "proxy_tlv"],
    ["a checksum of 3 bytes", v2(0x21, 0x11, Buffer.concat([addresses4, tlv(3, "abc")])), "proxy_tlv"],
    ["a wrong checksum", v2(0x21, 0x11, Buffer.concat([addresses4, tlv(3, "abcd")])), "proxy_checksum"],
    ["more bytes than are taken", v2(0x21, 0x11, addresses4, LONGEST_HEADER - 15), "proxy_too_long"],
    ["more bytes than are taken, LOCAL", v2(0x20, 0, addresses4, 0xffff), "proxy_too_long"],
  ])("with %s is refused", (_, header, reason) => {
    expect(parseProxyHeader(header)).toEqual(invalid(reason));
  });

  it("of LONGEST_HEADER bytes is the longest, and is waited for", () => {
    const header = v2(0x20, 0, Buffer.alloc(LONGEST_HEADER - 16));
    expect(parseProxyHeader(header)).toMatchObject({ status: "done", length: LONGEST_HEADER });
    expect(parseProxyHeader(header.subarray(0, 16))).toEqual({ status: "partial", needed: LONGEST_HEADER });
  });
});
