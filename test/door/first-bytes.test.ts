import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FirstBytes, NO_RULE, UNDECIDED } from "../../src/door/first-bytes.js";

const bytesOf = (text: string) => Buffer.from(text, "latin1");
const rulesOf = (...starts: string[]) =>
  new FirstBytes(
    starts.map((text, backend) => ({ starts: text === "http" ? "http" : bytesOf(text), text, backend: backend + 10 })),
  );

/** Surrounded by other bytes, which must not be looked at. */
function find(rules: FirstBytes, text: string, isEnded = false): number {
  const bytes = bytesOf(`GET ${text} SSH-`);
  return rules.find(bytes, 4, 4 + text.length, isEnded);
}

describe("http", () => {
  const http = rulesOf("http");
  it.each([
    "GET /",
    "GET / HTTP/1.1\r\n",
    "OPTIONS * HTTP/1.1",
    "GET http://example.com/",
    "GET HTTPS://example.com/",
    "CONNECT example.com:443 HTTP/1.1",
    "CONNECT [::1]:443 HTTP/1.1",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "M-SEARCH * HTTP/1.1",
    "PROPFIND /",
    "PURGE /",
    "UPDATEREDIRECTREF /",
  ])("%j is a request", (text) => {
    expect(find(http, text)).toBe(10);
    expect(http.isHttp).toBe(true);
  });

  it.each([
    "SSH-2.0-OpenSSH_9.2p1\r\n",
    "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    "EHLO client.example.com\r\n",
    "USER anonymous\r\n",
    "get / HTTP/1.1",
    " GET /",
    "GET\t/",
    "GET  /",
    "\r\nGET /",
    "\x00",
    "\x16\x03\x01",
    `${"A".repeat(25)}`,
    "CONNECTS x",
  ])("%j is none", (text) => {
    expect(find(http, text)).toBe(NO_RULE);
    expect(http.isHttp).toBe(false);
  });

  it("waits for more as long as it may be one, but not of who has ended", () => {
    for (const whole of ["GET /", "OPTIONS *", "CONNECT a", "PRI *"]) {
      for (let length = 0; length < whole.length; length++) {
        const part = whole.slice(0, length);
        expect(find(http, part), part).toBe(UNDECIDED);
        expect(find(http, part, true), part).toBe(NO_RULE);
      }
    }
  });
});

describe("texts", () => {
  it("are compared byte by byte, the first rule that matches wins", () => {
    const rules = rulesOf("SSH-", "\x00\xff", "http", "GET");
    expect(find(rules, "SSH-2.0")).toBe(10);
    expect(find(rules, "\x00\xff")).toBe(11);
    expect(find(rules, "GET /")).toBe(12);
    expect(find(rules, "GETTING")).toBe(UNDECIDED);
    expect(find(rules, "GETTING", true)).toBe(13);
    expect(find(rules, "GETTING\r\n")).toBe(13);
    expect(find(rules, "SSH2")).toBe(NO_RULE);
    expect(find(rules, "\x00\xfe")).toBe(NO_RULE);
  });

  it("one that may still match holds up those behind it", () => {
    const rules = rulesOf("PING-PONG", "PIN");
    expect(find(rules, "PIN")).toBe(UNDECIDED);
    expect(find(rules, "PING")).toBe(UNDECIDED);
    expect(find(rules, "PINX")).toBe(11);
    expect(find(rules, "PING-PONG")).toBe(10);
    expect(find(rules, "PING", true)).toBe(11);
  });

  it("whatever the rules and the bytes: what is decided stays so when more comes", () => {
    const text = fc.oneof(
      fc.constantFrom("http" as const, "GET ", "GET /x", "SSH-", "S", "PRI * HTTP/2.0"),
      fc.uint8Array({ minLength: 1, maxLength: 4 }).map((bytes) => Buffer.from(bytes).toString("latin1")),
    );
    const sent = fc.oneof(
      fc.constantFrom("GET / HTTP/1.1\r\n", "SSH-2.0-x", "PRI * HTTP/2.0\r\n", "CONNECT a:1 HTTP/1.1"),
      fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes).toString("latin1")),
    );
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 5 }), sent, (starts, sent) => {
        const rules = rulesOf(...starts);
        let decided: number | undefined;
        for (let length = 0; length <= sent.length; length++) {
          const found = find(rules, sent.slice(0, length));
          if (decided !== undefined) expect(found).toBe(decided);
          if (found !== UNDECIDED) decided = found;
          expect(find(rules, sent.slice(0, length), true)).not.toBe(UNDECIDED);
        }
      }),
      { numRuns: 1000 },
    );
  });
});
