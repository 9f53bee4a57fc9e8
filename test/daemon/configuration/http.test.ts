/** The `http` section: what it comes to, what is wrong with it, and what of it does nothing. */
import { describe, expect, test } from "vitest";
import { explainRequest } from "../../../src/daemon/configuration/explain-http.js";
import { NO_TARGET, RouteTable } from "../../../src/routing/table.js";
import { ConfigurationFolder } from "./scene.js";

const folder = new ConfigurationFolder();
const LISTENER = 'listeners: [{ address: "127.0.0.1:0", protocol: http }]\n';
const BASE = `${LISTENER}backends:\n  app: { handoff: /a }\n  web: { handoff: /w }\n`;
const FILE = "door.yaml";

describe("a section http", () => {
  test("is a table of its own, and who comes before and behind it", async () => {
    const { door, names } = await folder.load(`${BASE}default: app
http: { routes: { A.test.: web, "*.b.test": app }, default: web, redirect: https, acmeChallenge: app }
`);
    const { routes, ...rest } = door.http!;
    expect(rest).toEqual({ acmeChallenge: 0, redirectPort: 443 });
    expect(door.listeners).toEqual([{ protocol: "http" }]);
    expect(names).toBe(0);
    const table = new RouteTable(routes);
    expect(table.names).toBe(2);
    expect(table.defaultTarget).toBe(1);
    expect(table.lookup(Buffer.from("a.test"), 0, 6)).toBe(1);
    expect(table.lookup(Buffer.from("x.b.test"), 0, 8)).toBe(0);
  });

  test("may say nothing, or be absent", async () => {
    const empty = await folder.load(`${BASE}default: app\nhttp: {}\n`);
    expect(empty.door.http).toMatchObject({ acmeChallenge: NO_TARGET, redirectPort: 0 });
    expect(new RouteTable(empty.door.http!.routes).defaultTarget).toBe(NO_TARGET);
    expect((await folder.load(`${BASE}default: app\n`)).door.http).toBeUndefined();
  });

  test("redirects to another port", async () => {
    const { door } = await folder.load(`${BASE}http: { redirect: { to: https, port: 8443 } }\n`);
    expect(door.http!.redirectPort).toBe(8443);
  });

  test("takes memory that an earlier one had", async () => {
    const { loadConfiguration } = await import("../../../src/daemon/configuration/index.js");
    const text = `${BASE}http: { routes: { a.test: app }, default: web }\n`;
    const { door } = await folder.load(text);
    const next = await loadConfiguration(folder.at(FILE), { httpRegion: door.http!.routes });
    expect(next.door.http!.routes).toBe(door.http!.routes);
  });
});

describe("one wrong thing is one problem, with its place", () => {
  test.each([
    [
      "an unknown backend of a route",
      "http: { routes: { a.test: ap } }",
      '5:27: http.routes["a.test"]: found "ap", which is not a backend, did you mean "app"?; there are app, web',
    ],
    [
      "of the default",
      "http: { default: x }",
      '5:18: http.default: found "x", which is not a backend; there are app, web',
    ],
    [
      "of challenges",
      "http: { acmeChallenge: x }",
      '5:24: http.acmeChallenge: found "x", which is not a backend; there are app, web',
    ],
    [
      "a name that cannot be",
      'http: { routes: { "a.test:80": app } }',
      '5:19: http.routes["a.test:80"]: "a.test:80" holds ":" (U+003A): write the host name without the port',
    ],
    [
      "an address",
      "http: { routes: { 192.0.2.1: app } }",
      '5:19: http.routes["192.0.2.1"]: "192.0.2.1" is an IP address: requests to one get http.default',
    ],
    [
      "every host",
      'http: { routes: { "*": app } }',
      '5:19: http.routes["*"]: "*" is every host: set http.default to the backend for hosts that have no route',
    ],
    [
      "the same name in another form",
      "http: { routes: { a.test: app, A.test: web } }",
      '5:32: http.routes["A.test"]: is the same name as "a.test" (names have no case and no dot at the end); allowed: each once',
    ],
    [
      "a redirect to something else",
      "http: { redirect: ftp }",
      '5:19: http.redirect: found "ftp"; allowed: https, or a map with the keys to and port',
    ],
    [
      "a port that is none",
      "http: { redirect: { to: https, port: 0 } }",
      "5:38: http.redirect.port: found 0; allowed: a port from 1 to 65535",
    ],
    [
      "no map",
      "http: app",
      '5:7: http: found "app"; allowed: a map with the keys routes, default, redirect and acmeChallenge',
    ],
  ])("%s", async (_, section, problem) => {
    expect(await folder.problemsOf(`${BASE}${section}\n`)).toEqual([`${FILE}:${problem}`]);
  });

  test("a listener's protocol", async () => {
    const text = BASE.replace("protocol: http", "protocol: https");
    expect(await folder.problemsOf(`${text}default: app\n`)).toEqual([
      `${FILE}:1:49: listeners[0].protocol: found "https", did you mean "http"; allowed: tls, http`,
    ]);
  });
});

describe("warnings", () => {
  const used = "routes: { a.example: app, b.example: web }\n";
  const both = `${BASE.replace("}]", '}, { address: "127.0.0.1:0" }]')}`;

  test("of a listener without the section, and the reverse", async () => {
    expect(await folder.warningsOf(`${both}${used}`)).toEqual([
      `${FILE}:1:49: listeners[0].protocol: refuses everybody: there is no section http`,
    ]);
    expect(
      await folder.warningsOf(`${BASE.replace(", protocol: http", "")}${used}http: { redirect: https }\n`),
    ).toEqual([`${FILE}:6:1: http: has no effect: no listener has protocol: http`]);
  });

  test("of keys that only clients with TLS would meet", async () => {
    const text = `${BASE}${used}default: app\nhttp: { redirect: https }\n`;
    expect(await folder.warningsOf(text)).toEqual([
      `${FILE}:5:1: routes: has no effect: every listener has protocol: http`,
      expect.stringContaining("has no effect: the default leads to app already"),
      `${FILE}:6:1: default: has no effect: every listener has protocol: http`,
    ]);
    expect(await folder.warningsOf(`${both}${used}http: { redirect: https }\n`)).toEqual([]);
  });

  test("of routes that change nothing; backends that only http leads to are used", async () => {
    expect(
      await folder.warningsOf(`${BASE}http: { routes: { "*.test": web, a.test: web, b.test: app }, default: app }\n`),
    ).toEqual([`${FILE}:5:34: http.routes["a.test"]: has no effect: "*.test" leads to web already`]);
    expect(
      await folder.warningsOf(`${BASE}http: { routes: { b.test: app }, default: app, acmeChallenge: web }\n`),
    ).toEqual([`${FILE}:5:19: http.routes["b.test"]: has no effect: the default leads to app already`]);
    const redirected = `${BASE}http: { routes: { b.test: app }, default: app, redirect: https, acmeChallenge: web }\n`;
    expect(await folder.warningsOf(redirected)).toEqual([]);
  });
});

describe("explained", () => {
  const of = async (section: string, name: string, path = "/") => {
    const { by, pattern, over, backend, answer } = explainRequest(await folder.load(`${BASE}${section}\n`), name, path);
    return { by, pattern, over, to: backend?.name ?? answer };
  };
  const none = { pattern: undefined, over: [] };

  test("in the order in which it is decided", async () => {
    const all = 'http: { routes: { a.test: app, "*.test": web }, default: web, redirect: https, acmeChallenge: app }';
    const over = [{ pattern: "*.test", backend: "web" }];
    expect(await of(all, "A.Test.")).toEqual({ by: "routes", pattern: "a.test", over, to: "app" });
    expect(await of(all, "b.test", "/.well-known/acme-challenge/")).toEqual({
      by: "acmeChallenge",
      ...none,
      to: "app",
    });
    expect(await of(all, "c.example", "/x?y")).toEqual({
      by: "redirect",
      ...none,
      to: "308 Permanent Redirect to https://c.example/x?y",
    });
    expect(await of(all, "192.0.2.1")).toEqual({ by: "default", ...none, to: "web" });
  });

  test("what nobody takes", async () => {
    expect(await of("http: { redirect: https }", "192.0.2.1")).toEqual({ by: "none", ...none, to: "400 Bad Request" });
    expect(await of("http: {}", "a.test")).toEqual({ by: "none", ...none, to: "421 Misdirected Request" });
    expect(await of("default: app", "a.test")).toEqual({ by: "none", ...none, to: "421 Misdirected Request" });
    await expect(of("http: {}", "a b")).rejects.toThrow(RangeError);
  });
});
