/** What an http listener's connections come to, without a door around it. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { HttpIntake, NOWHERE, REDIRECTED } from "../../src/door/http-intake.js";
import type { DoorSettings, HttpSettings } from "../../src/door/settings.js";
import { HeadStatus } from "../../src/http/outcome.js";
import type { Loop } from "../../src/native/addon.js";
import { RouteTableBuilder } from "../../src/routing/table.js";
import { bytesOf } from "../http/heads.js";
import { guard } from "../tls/guard.js";

const loop = { clock: Float64Array.of(0, Date.UTC(2026, 0, 2)) } as Loop;
const LIMIT = 16_384;

function intake(http?: Partial<HttpSettings> & { routes: SharedArrayBuffer }): HttpIntake {
  const settings = http && { acmeChallenge: -1, redirectPort: 0, ...http };
  return new HttpIntake(loop, 4, { helloLimit: LIMIT, http: settings } as DoorSettings);
}

function table(routes: Readonly<Record<string, number>>, otherwise?: number): SharedArrayBuffer {
  const builder = new RouteTableBuilder({ names: 4, nameBytes: 100 });
  for (const [name, target] of Object.entries(routes)) builder.add(name, target);
  if (otherwise !== undefined) builder.defaultTarget = otherwise;
  return builder.finish();
}

const get = (host: string, target = "/") => `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;

describe("a head that comes in pieces", () => {
  test("is partial until its end, in whichever pieces, and then read as if it had come at once", () => {
    const head = get("app.test", `/${"x".repeat(500)}`);
    const bytes = bytesOf(head);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 120 }), { minLength: 1, maxLength: 60 }), (pieces) => {
        const http = intake();
        http.begin(1);
        let length = 0;
        for (const piece of pieces) {
          length = Math.min(length + piece, bytes.length);
          const status = http.read(1, bytes, 0, length);
          expect(status).toBe(length < bytes.length ? HeadStatus.PARTIAL : HeadStatus.DONE);
          if (status === HeadStatus.PARTIAL) {
            expect(http.hasBegun(1)).toBe(true);
            expect(http.nameLength).toBe(0);
          } else expect(Buffer.from(http.name.subarray(0, http.nameLength)).toString()).toBe("app.test");
        }
      }),
    );
  });

  test("is refused in the middle at the latest when it has doubled, or at its end", () => {
    const wrong = `GET / HTTP/1.1\r\nHost: a.test\r\nX: \0${"x".repeat(100)}`;
    const http = intake();
    http.begin(0);
    let length = 1;
    while (http.read(0, bytesOf(wrong), 0, length) === HeadStatus.PARTIAL) length++;
    expect(http.reason).toBe("http_characters");
    expect(length).toBeLessThanOrEqual(2 * wrong.indexOf("\0") + 2);
    const short = "GET / HTTP/1.1\r\nX: \0\r\n\r\n";
    http.begin(0);
    http.read(0, bytesOf(short), 0, short.length - 2);
    expect(http.read(0, bytesOf(short), 0, short.length)).toBe(HeadStatus.INVALID);
  });

  test("costs a few looks at each of its bytes, even in single ones", () => {
    const head = get("app.test", `/${"x".repeat(8000)}`);
    const { bytes, start, end, reads } = guard(bytesOf(head));
    const http = intake();
    http.begin(0);
    for (let at = start; at < end; at++) expect(http.read(0, bytes, start, at)).toBe(HeadStatus.PARTIAL);
    expect(http.read(0, bytes, start, end)).toBe(HeadStatus.DONE);
    expect(reads() / head.length).toBeLessThan(20);
  });

  test("and is over the limit is refused when so much is there", () => {
    const http = intake();
    http.begin(0);
    const bytes = bytesOf(get("a.test", `/${"x".repeat(LIMIT)}`));
    for (let length = LIMIT - 5; length < LIMIT; length++)
      expect(http.read(0, bytes, 0, length)).toBe(HeadStatus.PARTIAL);
    expect(http.read(0, bytes, 0, LIMIT)).toBe(HeadStatus.INVALID);
    expect(http.reason).toBe("http_too_long");
  });

  test("is another one for the next connection of its slot, and for other slots", () => {
    const http = intake();
    const bytes = bytesOf(get("app.test"));
    http.begin(0);
    http.begin(1);
    expect(http.read(0, bytes, 0, 30)).toBe(HeadStatus.PARTIAL);
    expect(http.hasBegun(1)).toBe(false);
    http.begin(0);
    expect(http.hasBegun(0)).toBe(false);
    expect(http.read(0, bytes, 0, bytes.length)).toBe(HeadStatus.DONE);
    // As of a connection that was held and is examined again.
    expect(http.read(0, bytes, 0, bytes.length)).toBe(HeadStatus.DONE);
  });
});

describe("where it goes", () => {
  const routed = (http: HttpIntake, head: string) => {
    const bytes = bytesOf(head);
    http.begin(0);
    http.read(0, bytes, 0, bytes.length);
    return http.route(bytes);
  };
  const acme = "/.well-known/acme-challenge/x";
  const nameless = "GET / HTTP/1.0\r\n\r\n";

  test("nowhere without a section", () => {
    const http = intake();
    expect(routed(http, get("a.test"))).toBe(NOWHERE);
    expect(http.refusal).toBe("misdirected_request");
  });

  test("challenges, then routes, then the redirect, then the default", () => {
    const http = intake({ routes: table({ "a.test": 1, "*.b.test": 2 }, 3), acmeChallenge: 4, redirectPort: 443 });
    expect(routed(http, get("a.test", acme))).toBe(4);
    expect(http.isLookedUp).toBe(false);
    expect(routed(http, get("a.test"))).toBe(1);
    expect(routed(http, get("x.b.test"))).toBe(2);
    expect(routed(http, get("c.test"))).toBe(REDIRECTED);
    expect(http.isLookedUp).toBe(true);
    expect(routed(http, nameless)).toBe(3);
    expect(routed(http, "CONNECT c.test:1 HTTP/1.1\r\nHost: c.test:1\r\n\r\n")).toBe(3);
  });

  test("a redirect alone refuses what it is not for as a bad request", () => {
    const http = intake({ routes: table({}), redirectPort: 8443 });
    expect(routed(http, nameless)).toBe(NOWHERE);
    expect(http.refusal).toBe("bad_request");
    const bytes = bytesOf(get("A.test", "http://C.test?x"));
    http.begin(0);
    http.read(0, bytes, 0, bytes.length);
    expect(http.route(bytes)).toBe(REDIRECTED);
    expect(Buffer.from(http.redirection(bytes)).toString()).toContain("\r\nLocation: https://c.test:8443/?x\r\n");
  });

  test("says in responses what alerts say", () => {
    const said = (alert: Parameters<HttpIntake["answerTo"]>[0]) =>
      Buffer.from(intake().answerTo(alert)).toString().split("\r\n").slice(0, 2);
    const date = "Date: Fri, 02 Jan 2026 00:00:00 GMT";
    expect(said("unrecognized_name")).toEqual(["HTTP/1.1 421 Misdirected Request", date]);
    expect(said("access_denied")).toEqual(["HTTP/1.1 403 Forbidden", date]);
    expect(said("internal_error")).toEqual(["HTTP/1.1 503 Service Unavailable", date]);
  });
});
