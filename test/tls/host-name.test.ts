import { describe, expect, test } from "vitest";
import { HostName } from "../../src/tls/host-name.js";
import { isIpv4, isIpv6 } from "../../src/tls/ip-literal.js";
import { alertFor, type InvalidReason } from "../../src/tls/outcome.js";
import { read } from "./facts.js";
import { type Bytes, buildHello, toBytes } from "./hello-builder.js";

const named = (name: Bytes) => read(buildHello({ serverName: name }));
const label = (length: number) => "x".repeat(length);
/** A name of so many bytes. */
const long = (length: number) => `${`${label(49)}.`.repeat(5)}${"y".repeat(length)}`.slice(0, length);

describe("a name", () => {
  test.each([
    ["as it should be", "www.example.com", "www.example.com"],
    ["of one label", "localhost", "localhost"],
    ["of one letter", "a", "a"],
    ["in capitals", "WWW.EXAMPLE.COM", "www.example.com"],
    ["in mixed case", "wWw.ExAmPlE.cOm", "www.example.com"],
    ["with a trailing dot", "www.example.com.", "www.example.com"],
    ["with underscores", "_dmarc.foo_bar.example", "_dmarc.foo_bar.example"],
    ["with hyphens, at the ends of labels too", "r3---sn-a.-b-.example", "r3---sn-a.-b-.example"],
    ["as A-labels", "xn--mnchen-3ya.example", "xn--mnchen-3ya.example"],
    ["that begins with digits", "1.2.3.4.example", "1.2.3.4.example"],
    ["of the longest label", `${label(63)}.example`, `${label(63)}.example`],
    ["of 253 bytes, the longest of the DNS", long(253), long(253)],
    ["of 255 bytes", long(255), long(255)],
    ["of 255 bytes with the trailing dot", `${long(254)}.`, long(254)],
    ["that only looks like an address: a number too great", "256.1.1.1", "256.1.1.1"],
    ["that only looks like an address: five numbers", "1.2.3.4.5", "1.2.3.4.5"],
    ["that only looks like an address: three numbers", "1.2.3", "1.2.3"],
    ["that only looks like an address: hexadecimal", "0x7f.0.0.1", "0x7f.0.0.1"],
    ["that only looks like an address: one number", "2130706433", "2130706433"],
    ["that only looks like an address: four digits", "0001.1.1.1", "0001.1.1.1"],
  ])("%s", (_, sent, serverName) => {
    expect(named(sent)).toMatchObject({ status: "done", serverName, ipLiteral: false });
  });

  test.each<[string, string, InvalidReason]>([
    ["of a dot", ".", "server_name_label"],
    ["of two dots", "..", "server_name_label"],
    ["with two trailing dots", "www.example.com..", "server_name_label"],
    ["with a leading dot", ".example.com", "server_name_label"],
    ["with an empty label", "www..com", "server_name_label"],
    ["with a label of 64 bytes", `${label(64)}.example`, "server_name_label"],
    ["with a last label of 64 bytes", `www.${label(64)}`, "server_name_label"],
    ["of 256 bytes", long(256), "server_name_length"],
    ["of 256 bytes with the trailing dot", `${long(255)}.`, "server_name_length"],
    ["of 16,000 bytes", label(16000), "server_name_length"],
    ["that hides its end behind NUL", "good.example\x00.evil.example", "server_name_characters"],
    ["with a wildcard", "*.example.com", "server_name_characters"],
    ["with a port", "example.com:443", "server_name_characters"],
    ["with a port, of hexadecimal digits", "dead:beef", "server_name_characters"],
    ["with a path", "../../etc/passwd", "server_name_label"],
    ["with a slash", "a/../b", "server_name_characters"],
    ["with a user", "user@example.com", "server_name_characters"],
    ["in UTF-8", "m\xc3\xbcnchen.example", "server_name_characters"],
    ["with a full-width dot in UTF-8", "example\xef\xbc\x8ecom", "server_name_characters"],
    ["with a line break, which would forge a log line", "a\r\nb.example", "server_name_characters"],
  ])("%s is refused", (_, sent, reason) => {
    expect(named(sent)).toEqual({ status: "invalid", reason });
    expect(alertFor(reason)).toBe("unrecognized_name");
  });

  test("of each single byte in the middle: letters, digits, hyphen, underscore and dot pass, all others are refused", () => {
    for (let byte = 0; byte < 256; byte++) {
      const char = String.fromCharCode(byte);
      const result = named(`a${char}b`);
      if (/[A-Za-z0-9._-]/.test(char)) {
        expect(result).toMatchObject({ status: "done", serverName: `a${char.toLowerCase()}b` });
      } else {
        expect(result, `byte ${byte}`).toEqual({ status: "invalid", reason: "server_name_characters" });
      }
    }
  });

  test("of each single byte at either end", () => {
    for (let byte = 0; byte < 256; byte++) {
      const char = String.fromCharCode(byte);
      const fine = /[A-Za-z0-9_-]/.test(char);
      expect(named(`${char}ab`).status, `byte ${byte} first`).toBe(fine ? "done" : "invalid");
      expect(named(`ab${char}`).status, `byte ${byte} last`).toBe(fine || char === "." ? "done" : "invalid");
    }
  });
});

describe("an address is no name", () => {
  test.each([
    "192.0.2.1",
    "192.0.2.1.",
    "0.0.0.0",
    "255.255.255.255",
    "127.000.000.001",
    "::",
    "::1",
    "[::1]",
    "2001:db8::1",
    "2001:DB8::A",
    "[2001:db8:0:0:0:0:0:1]",
    "1:2:3:4:5:6:7:8",
    "1:2:3:4:5:6:7::",
    "::2:3:4:5:6:7:8",
    "::ffff:192.0.2.1",
    "64:ff9b::192.0.2.33",
    "1:2:3:4:5:6:192.0.2.1",
    "fade:FADE::9",
    "::f:F:a:A",
  ])("%s", (address) => {
    expect(named(address)).toMatchObject({ status: "done", serverName: undefined, ipLiteral: true });
  });

  test.each([
    ":",
    ":::",
    ":1",
    "1:",
    "::1:",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4::5:6:7:8",
    "12345::",
    "g::",
    "::1.2.3",
    "::1.2.3.256",
    "::1.2.3.a",
    "::1.2.3./",
    "1:2:3:4:5:6:7g8",
    "::@",
    "::G",
    "::`",
    "::1.2.3.4:5",
    "1:2:3:4:5:6:7:192.0.2.1",
    "fe80::1%eth0",
    "[::1",
    "::1]",
    "[]",
    "[",
    "[192.0.2.1]",
    "[::1]:443",
    "192.0.2.1:443",
    "::1.",
    "192.0.2.1/24",
    "-1.2.3.4:",
  ])("%s is neither", (text) => {
    expect(named(text)).toEqual({ status: "invalid", reason: "server_name_characters" });
  });

  test("the recognisers stay in their range", () => {
    const bytes = toBytes("x192.0.2.1y::1z");
    expect(isIpv4(bytes, 1, 10)).toBe(true);
    expect(isIpv4(bytes, 0, 10)).toBe(false);
    expect(isIpv6(bytes, 11, 14)).toBe(true);
    expect(isIpv6(bytes, 11, 12)).toBe(false);
    expect(isIpv6(bytes, 11, 11)).toBe(false);
    // What comes behind the range must not be taken for more digits, or for a dot.
    expect(isIpv6(toBytes("::12345"), 0, 6)).toBe(true);
    expect(isIpv6(toBytes("::1.2"), 0, 3)).toBe(true);
    expect(isIpv4(bytes, 1, 1)).toBe(false);
  });
});

test("HostName can be used by itself, again and again", () => {
  const name = new HostName();
  const readName = (text: string) => name.read(toBytes(text), 0, text.length);
  expect(readName("A.Example.")).toBeUndefined();
  expect(Buffer.from(name.bytes.subarray(0, name.length)).toString()).toBe("a.example");
  expect(readName("[::1]")).toBeUndefined();
  expect([name.length, name.ipLiteral]).toEqual([0, true]);
  expect(readName("a b")).toBe("server_name_characters");
  expect([name.length, name.ipLiteral]).toEqual([0, false]);
});
