import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ANSWERS, type AnswerName, answer, redirect } from "../../src/http/answers.js";
import { HeadStatus } from "../../src/http/outcome.js";
import { RequestHeadReader } from "../../src/http/request-head.js";
import { bytesOf, MAX_LENGTH } from "./heads.js";

const now = Date.UTC(1994, 10, 6, 8, 49, 37);
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("latin1");

test.each(Object.keys(ANSWERS) as AnswerName[])(
  "%s: a whole response without content that ends the connection",
  (name) => {
    expect(text(answer(name, now))).toBe(
      `HTTP/1.1 ${ANSWERS[name]}\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`,
    );
  },
);

describe("a redirect", () => {
  const reader = new RequestHeadReader(MAX_LENGTH);
  const redirected = (head: string, port = 443): string => {
    const bytes = bytesOf(`#${head}`);
    expect(reader.read(bytes, 1, bytes.length)).toBe(HeadStatus.DONE);
    const name = text(reader.name.subarray(0, reader.nameLength));
    return text(redirect(name, port, bytes, reader.pathStart, reader.pathEnd, now));
  };
  const location = (response: string) => /\r\nLocation: (.*)\r\n/.exec(response)?.[1];

  test("is a 308 to the same path by https", () => {
    expect(redirected("GET /a/b?c=d HTTP/1.1\r\nHost: A.test:80\r\n\r\n")).toBe(
      "HTTP/1.1 308 Permanent Redirect\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n" +
        "Location: https://a.test/a/b?c=d\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
  });

  const cases: readonly (readonly [why: string, target: string, port: number, location: string])[] = [
    ["another port is named", "/x", 8443, "https://a.test:8443/x"],
    ["an absolute-form is reduced to its path", "http://a.test:80/x?y", 443, "https://a.test/x?y"],
    ["without a path it gets one", "http://a.test", 443, "https://a.test/"],
    ["also before a query", "http://a.test?y=/z", 443, "https://a.test/?y=/z"],
    ["two slashes stay a path", "//evil.test/x", 443, "https://a.test//evil.test/x"],
    ["encoded line ends stay encoded", "/%0d%0aSet-Cookie:x", 443, "https://a.test/%0d%0aSet-Cookie:x"],
  ];
  test.each(cases)("%s", (_, target, port, expected) => {
    expect(location(redirected(`GET ${target} HTTP/1.1\r\nHost: a.test\r\n\r\n`, port))).toBe(expected);
  });

  test("whatever the target is, the response has its own five lines and no more", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (path) => {
        const bytes = bytesOf(`GET /${text(path)} HTTP/1.1\r\nHost: a.test\r\n\r\n`);
        if (reader.read(bytes, 0, bytes.length) !== HeadStatus.DONE) return;
        const response = text(redirect("a.test", 443, bytes, reader.pathStart, reader.pathEnd, now));
        expect(response.split(/[\r\n]+/)).toHaveLength(6);
        expect(location(response)).toBe(`https://a.test/${text(path)}`);
      }),
      { numRuns: 500 },
    );
  });
});
