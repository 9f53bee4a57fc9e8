import { describe, expect, test } from "vitest";
import { RequestHeadReader } from "../../src/http/request-head.js";
import { bytesOf, expectAtEverySplit, MAX_LENGTH, read, readGuarded } from "./heads.js";

const get = (target: string, ...fields: string[]) =>
  `GET ${target} HTTP/1.1\r\n${fields.map((f) => `${f}\r\n`).join("")}\r\n`;
const withHost = (host: string) => get("/", `Host: ${host}`);

describe("a head tells its host and path", () => {
  const cases: readonly (readonly [why: string, head: string, name: string, path: string | undefined])[] = [
    ["the plain case", get("/", "Host: app.example.com"), "app.example.com", "/"],
    ["a path with a query, as sent", get("/a%2Fb?c=d&e=\"'<>", "Host: a.test"), "a.test", "/a%2Fb?c=d&e=\"'<>"],
    ["bytes above 0x7f in a path", get("/\xc3\xa9", "Host: a.test"), "a.test", "/\xc3\xa9"],
    ["a path that looks like an authority", get("//evil.test/", "Host: a.test"), "a.test", "//evil.test/"],
    ["a port", withHost("a.test:8080"), "a.test", "/"],
    ["an empty port (RFC 3986 §3.2.3)", withHost("a.test:"), "a.test", "/"],
    ["upper case and a dot at the end", withHost("App.Example.COM."), "app.example.com", "/"],
    ["an underscore", withHost("_srv.a_b.test"), "_srv.a_b.test", "/"],
    ["no blank behind the colon", get("/", "Host:a.test"), "a.test", "/"],
    ["blanks and tabs around the value", get("/", "Host: \t a.test \t "), "a.test", "/"],
    ["a field name in any case", get("/", "hOST: a.test"), "a.test", "/"],
    ["other fields around it", get("/", "Hostx: b.test", "X-Host: c.test", "Host: a.test", "Hos: d"), "a.test", "/"],
    ["every token character in a name", get("/", "!#$%&'*+-.^_`|~09azAZ: v", "Host: a.test"), "a.test", "/"],
    ["an empty value, tabs and bytes above 0x7f", get("/", "A:", "B: x\ty\xff", "Host: a.test"), "a.test", "/"],
    ["a method of one's own", "m-search~1 / HTTP/1.1\r\nHost: a.test\r\n\r\n", "a.test", "/"],
    ["one empty line before (RFC 9112 §2.2)", `\r\n${withHost("a.test")}`, "a.test", "/"],
    ["a later minor version (RFC 9110 §2.5)", "GET / HTTP/1.7\r\nHost: a.test\r\n\r\n", "a.test", "/"],
    ["HTTP/1.0 with Host", "GET / HTTP/1.0\r\nHost: a.test\r\n\r\n", "a.test", "/"],
    ["HTTP/1.0 without Host: no name", "GET / HTTP/1.0\r\n\r\n", "", "/"],
    ["an empty Host: no name (RFC 9112 §3.2)", get("/", "Host:"), "", "/"],
    ["an IPv4 address: no name", withHost("192.0.2.1:80"), "", "/"],
    ["an IPv6 address: no name", withHost("[2001:db8::1]:80"), "", "/"],
    ["absolute-form", get("http://a.test/x?y", "Host: a.test"), "a.test", "/x?y"],
    ["absolute-form wins over Host (RFC 9112 §3.2.2)", get("http://a.test:81/x", "Host: b.test"), "a.test", "/x"],
    ["the same, with an empty Host", get("http://a.test/", "Host:"), "a.test", "/"],
    ["the same, without Host in HTTP/1.0", "GET http://a.test/ HTTP/1.0\r\n\r\n", "a.test", "/"],
    ["a scheme in any case", get("HTTPS://A.Test", "Host: a.test"), "a.test", ""],
    ["absolute-form without a path, with a query", get("http://a.test?q", "Host: a.test"), "a.test", "?q"],
    ["absolute-form of an address", get("http://[::1]:80/", "Host: a.test"), "", "/"],
    ["authority-form", "CONNECT a.test:443 HTTP/1.1\r\nHost: b.test\r\n\r\n", "a.test", undefined],
    ["asterisk-form", "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", "a.test", undefined],
    [
      "a method that is no CONNECT, since methods have case",
      "connect /x HTTP/1.1\r\nHost: a.test\r\n\r\n",
      "a.test",
      "/x",
    ],
  ];
  test.each(cases)("%s", (_, head, name, path) => {
    const facts = expectAtEverySplit(head);
    expect(facts).toMatchObject({ status: "done", name, length: head.length });
    expect(facts.path).toBe(path);
    expect(facts.ipLiteral).toBe(/address/.test(_));
  });

  test("what follows the head is not looked at", () => {
    const head = withHost("a.test");
    expect(read(bytesOf(`${head}\0\n body`))).toMatchObject({ status: "done", length: head.length });
  });

  test("one reader reads one head after another, without remembering", () => {
    const reader = new RequestHeadReader(MAX_LENGTH);
    const heads = ["CONNECT b.test:1 HTTP/1.1\r\nHost: x\r\n\r\n", get("/", "Host: a.test"), "GET / HTTP/1.0\r\n\r\n"];
    const names = heads.map((head) => read(bytesOf(head), 0, head.length, reader).name);
    expect(names).toEqual(["b.test", "a.test", ""]);
  });
});

describe("a head that is refused", () => {
  const cases: readonly (readonly [why: string, head: string, reason: string])[] = [
    ["a TLS hello", "\x16\x03\x01\x02\x00\x01", "http_method"],
    ["another protocol", "SSH-2.0-OpenSSH_9.2\r\n", "http_method"],
    ["a blank first", " GET / HTTP/1.1\r\n", "http_method"],
    ["no method", "\0", "http_method"],
    ["a second empty line before", "\r\n\r\nGET / HTTP/1.1\r\n", "http_method"],
    ["two blanks before the target", "GET  / HTTP/1.1\r\n", "http_target"],
    ["a target without a slash", get("x", "Host: a.test"), "http_target"],
    ["an asterisk that is not for OPTIONS", get("*", "Host: a.test"), "http_target"],
    ["another scheme", get("ftp://a.test/", "Host: a.test"), "http_target"],
    ["a scheme without an authority", get("http:/x", "Host: a.test"), "http_target"],
    ["CONNECT without a port", "CONNECT a.test HTTP/1.1\r\nHost: a.test\r\n\r\n", "http_target"],
    ["CONNECT to a path", "CONNECT / HTTP/1.1\r\nHost: a.test\r\n\r\n", "http_target"],
    ["NUL in the target", "GET /\0 HTTP/1.1\r\n", "http_characters"],
    ["a tab behind the target", "GET /\tHTTP/1.1\r\n", "http_characters"],
    ["HTTP/0.9", "GET /\r\n", "http_version"],
    ["two blanks before the version", "GET /  HTTP/1.1\r\n", "http_version"],
    ["HTTP/2.0 that is no preface", "GET / HTTP/2.0\r\n", "http_version"],
    ["the preface with another target", "PRI / HTTP/2.0\r\n", "http_version"],
    ["HTTP/0.9 written out", "GET / HTTP/0.9\r\n", "http_version"],
    ["a version in lower case", "GET / http/1.1\r\n", "http_version"],
    ["a version of two digits", "GET / HTTP/1.10\r\n", "http_version"],
    ["a blank behind the version", "GET / HTTP/1.1 \r\n", "http_version"],
    ["LF alone behind the version", "GET / HTTP/1.1\nHost: a.test\n\n", "http_line_ending"],
    ["CR alone behind the version", "GET / HTTP/1.1\rHost: a.test\r\r", "http_line_ending"],
    ["CR alone in a value", get("/", "Host: a.test", "A: b\rHost: c.test"), "http_line_ending"],
    ["LF alone behind a value", get("/", "Host: a.test", "A: b\nHost: c.test"), "http_line_ending"],
    ["CR alone at the end", "GET / HTTP/1.1\r\nHost: a.test\r\n\rX", "http_line_ending"],
    ["LF alone at the end", "GET / HTTP/1.1\r\nHost: a.test\r\n\n", "http_field"],
    ["obs-fold", get("/", "Host: a.test", "A: b", " c"), "http_folded"],
    ["obs-fold of Host", get("/", "Host:", "\ta.test"), "http_folded"],
    ["a blank before the first field", get("/", " Host: a.test"), "http_folded"],
    ["a blank before the colon", get("/", "Host : a.test"), "http_field"],
    ["no name", get("/", ": a.test"), "http_field"],
    ["no colon", get("/", "Host"), "http_field"],
    ["a name of bytes above 0x7f", get("/", "H\xf6st: a.test"), "http_field"],
    ["NUL in a name", get("/", "Ho\0st: a.test"), "http_characters"],
    ["NUL in a value", get("/", "A: \0"), "http_characters"],
    ["DEL in a value", get("/", "A: \x7f"), "http_characters"],
    ["NUL behind the host", withHost("a.test\0.evil.test"), "http_characters"],
    ["two Hosts", get("/", "Host: a.test", "Host: b.test"), "http_host_twice"],
    ["the same Host twice, in other case", get("/", "Host: a.test", "A: b", "HOST: a.test"), "http_host_twice"],
    ["an empty Host and another", get("/", "Host:", "Host: a.test"), "http_host_twice"],
    ["HTTP/1.1 without Host", get("/"), "http_host_missing"],
    ["the same in absolute-form", get("http://a.test/"), "http_host_missing"],
    ["two hosts in one field", withHost("a.test, b.test"), "http_host"],
    ["a blank in the host", withHost("a test"), "http_host"],
    ["user information", withHost("u@a.test"), "http_host"],
    ["a URL", withHost("http://a.test"), "http_host"],
    ["a path", withHost("a.test/x"), "http_host"],
    ["only a port", withHost(":80"), "http_host"],
    ["a port that is no number", withHost("a.test:8x"), "http_host"],
    ["a signed port", withHost("a.test:+80"), "http_host"],
    ["a port above 65535", withHost("a.test:65536"), "http_host"],
    ["a second port", withHost("a.test:80:80"), "http_host"],
    ["IPv6 without brackets", withHost("2001:db8::1"), "http_host"],
    ["something else in brackets", withHost("[a.test]"), "http_host"],
    ["brackets that do not close", withHost("[::1"), "http_host"],
    ["something behind the brackets", withHost("[::1]x"), "http_host"],
    ["a percent-encoding", withHost("a%2etest"), "http_host"],
    ["bytes above 0x7f", withHost("b\xfccher.test"), "http_host"],
    ["an empty label", withHost("a..test"), "http_host"],
    ["a label of 64 bytes", withHost(`${"a".repeat(64)}.test`), "http_host"],
    ["a name of 256 bytes", withHost(`${"a.".repeat(126)}abcd`), "http_host"],
    ["user information in absolute-form (RFC 9110 §4.2.4)", get("http://u@a.test/", "Host: a.test"), "http_host"],
    ["absolute-form without a host (RFC 9110 §4.2.1)", get("http:///x", "Host: a.test"), "http_host"],
    ["a wrong Host beside an absolute-form", get("http://a.test/", "Host: b test"), "http_host"],
  ];
  test.each(cases)("%s", (_, head, reason) => {
    expect(expectAtEverySplit(head)).toEqual({ status: "invalid", reason });
  });
});

describe("the limit", () => {
  const padded = (length: number) => {
    const head = get("/", "Host: a.test", "A: ");
    return get("/", "Host: a.test", `A: ${"x".repeat(length - head.length)}`);
  };

  test("a head of exactly the limit is read", () => {
    const head = padded(MAX_LENGTH);
    expect(read(bytesOf(head))).toMatchObject({ status: "done", length: MAX_LENGTH });
    expect(read(bytesOf(`${head}and a body`))).toMatchObject({ status: "done", length: MAX_LENGTH });
  });

  test("a longer one is refused, once so many bytes are there, in whichever part", () => {
    const tooLong = { status: "invalid", reason: "http_too_long" };
    const heads = [
      padded(MAX_LENGTH + 1),
      get(`/${"x".repeat(MAX_LENGTH)}`),
      `${"M".repeat(MAX_LENGTH)} / HTTP/1.1\r\n`,
      get("/", `${"N".repeat(MAX_LENGTH)}: v`),
      get("/", ...Array.from({ length: MAX_LENGTH / 4 }, () => "A:")),
    ];
    for (const head of heads) {
      expect(read(bytesOf(head))).toEqual(tooLong);
      expect(read(bytesOf(head), 0, MAX_LENGTH)).toEqual(tooLong);
      expect(read(bytesOf(head), 0, MAX_LENGTH - 1)).toEqual({ status: "partial" });
    }
  });
});

test("nothing behind the bytes is looked at, wherever they end", () => {
  const head = bytesOf(`\r\n${get("http://a.test:80/x", "Host: b.test", "A: c")}`);
  for (let length = 0; length <= head.length; length++)
    expect(readGuarded(head.subarray(0, length))).toEqual(read(head, 0, length));
});

describe("HTTP/2 with prior knowledge", () => {
  test("its preface is told apart once its first line is there", () => {
    const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    expect(expectAtEverySplit(preface)).toEqual({ status: "http2" });
    expect(read(bytesOf(preface), 0, 15)).toEqual({ status: "partial" });
    expect(read(bytesOf(preface), 0, 16)).toEqual({ status: "http2" });
  });
});
