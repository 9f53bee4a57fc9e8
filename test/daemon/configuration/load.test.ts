import { describe, expect, test } from "vitest";
import { describeBackend, explainName } from "../../../src/daemon/configuration/explain.js";
import { type Configuration, loadConfiguration } from "../../../src/daemon/configuration/index.js";
import { configurationSchema } from "../../../src/daemon/configuration/schema.js";
import { ConfigurationError, formatProblem } from "../../../src/errors.js";
import { RouteTable } from "../../../src/routing/table.js";
import { Folder } from "../../support/folder.js";

const folder = new Folder();
const FILE = "door.yaml";

/** What a good configuration has at least; each test adds its own. */
const LISTENERS = 'listeners: [{ address: "127.0.0.1:0" }]\n';
const BASE = `${LISTENERS}backends: { app: { handoff: /run/app.sock } }\ndefault: app\n`;

const load = (text: string): Promise<Configuration> => loadConfiguration(folder.write(FILE, text));

/** The problems, without the folder's name. */
async function problemsOf(text: string): Promise<string[]> {
  try {
    await load(text);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return error.problems.map(formatProblem).map((line) => line.replaceAll(`${folder.path}/`, ""));
  }
}

async function warningsOf(text: string): Promise<string[]> {
  const { warnings } = await load(text);
  return warnings.map(formatProblem).map((line) => line.replaceAll(`${folder.path}/`, ""));
}

describe("a configuration", () => {
  test("with its defaults", async () => {
    const configuration = await load(
      `${LISTENERS}backends: { app: { handoff: app.sock } }\nroutes: { a.example: app }`,
    );
    expect(configuration).toMatchObject({
      listeners: [
        {
          name: "127.0.0.1:0",
          options: { address: "127.0.0.1", port: 0, backlog: 4096, freebind: false, deferAccept: 1, keepAlive: false },
        },
      ],
      log: { level: "info" },
      door: {
        generation: 1,
        helloTimeout: 5000,
        helloLimit: 16_384,
        limits: { waiting: 10_000, waitingPerClient: 1000, held: 20_000, acceptRate: 0, acceptBurst: 100 },
        accessLog: { mode: "errors", sample: 1 },
        backends: [
          {
            kind: "handoff",
            name: "app",
            path: folder.at("app.sock"),
            balance: "round-robin",
            hold: 5000,
            maxHeld: 10_000,
            maxHeldPerClient: 1000,
            acknowledgeTimeout: 500,
            fallback: -1,
            uid: -1,
            connect: "eagerly",
            maxConnections: 0,
          },
          {
            kind: "reject",
            name: "built-in:unrecognized_name",
            reject: "unrecognized_name",
            countedAs: "no_route",
          },
          { kind: "reject", name: "built-in:close", reject: "close", countedAs: "not_tls" },
        ],
      },
      names: 1,
      warnings: [],
      files: [folder.at(FILE)],
      privileges: { landlock: false, keepBindService: false },
      timeouts: { drain: 10_000, upgrade: 30_000 },
    });
    expect(configuration).toHaveProperty("control", undefined);
    expect(configuration).toHaveProperty("metrics", undefined);
    expect(configuration).toHaveProperty("identity", undefined);
    expect(configuration).toHaveProperty("pidfile", undefined);
    expect(configuration.listeners[0]!.options).not.toHaveProperty("v6Only");
    expect(configuration.workers).toBeGreaterThanOrEqual(1);
    expect(configuration.workers).toBeLessThanOrEqual(4);
    const table = new RouteTable(configuration.routes);
    expect([table.defaultTarget, table.noServerNameTarget, table.notTlsTarget]).toEqual([1, 1, 2]);
  });

  test("with everything set", async () => {
    const configuration = await load(`
listeners:
  - { address: "[::1]:8443", backlog: 10, v6Only: true, freebind: true, deferAccept: 1500ms, keepAlive: true }
  - { address: "127.0.0.1:8443", deferAccept: 0 }
workers: 3
backends:
  pool: { handoff: /run/pool.d/, balance: least-connections, hold: 2m, maxHeld: 5, maxHeldPerClient: 2,
          acknowledgeTimeout: 1s, fallback: sorry, user: root, connect: lazily, maxConnections: 7 }
  abstract: { handoff: "@app", user: 1234 }
  sorry: { reject: access_denied }
routes: { app.example.com: pool, "*.example.com": abstract }
default: sorry
noServerName: pool
notTls: abstract
timeouts: { hello: 1.5s, drain: 1m, upgrade: 2m }
limits: { hello: 4KiB, waiting: 6, waitingPerClient: 5, held: 4, acceptRate: 3, acceptBurst: 2 }
log: { level: debug }
accessLog: { sample: 100 }
control: { path: control.sock, mode: "640", group: 1234 }
metrics: { address: "[::1]:9443" }
user: 1000
group: 1001
privileges: { landlock: false, keepBindService: true }
pidfile: door.pid
`);
    expect(configuration.warnings).toEqual([]);
    expect(configuration).toMatchObject({
      listeners: [
        {
          name: "[::1]:8443",
          options: {
            address: "::1",
            port: 8443,
            backlog: 10,
            v6Only: true,
            freebind: true,
            deferAccept: 2, // whole seconds, rounded up: tcp(7)
            keepAlive: true,
          },
        },
        { name: "127.0.0.1:8443", options: { deferAccept: 0 } },
      ],
      workers: 3,
      log: { level: "debug" },
      door: {
        helloTimeout: 1500,
        helloLimit: 4096,
        limits: { waiting: 6, waitingPerClient: 5, held: 4, acceptRate: 3, acceptBurst: 2 },
        accessLog: { mode: "sample", sample: 100 },
        backends: [
          {
            path: "/run/pool.d/",
            balance: "least-connections",
            hold: 120_000,
            maxHeld: 5,
            maxHeldPerClient: 2,
            acknowledgeTimeout: 1000,
            fallback: 2,
            uid: 0,
            connect: "lazily",
            maxConnections: 7,
          },
          { path: "@app", uid: 1234 },
          { kind: "reject", reject: "access_denied" },
        ],
      },
      control: { path: folder.at("control.sock"), mode: 0o640, gid: 1234 },
      metrics: { address: "::1", port: 9443 },
      pidfile: folder.at("door.pid"),
      identity: { uid: 1000, gid: 1001 },
      privileges: { landlock: false, keepBindService: true },
      timeouts: { drain: 60_000, upgrade: 120_000 },
    });
    const table = new RouteTable(configuration.routes);
    expect([table.defaultTarget, table.noServerNameTarget, table.notTlsTarget]).toEqual([2, 0, 1]);
  });

  test("noServerName is as the default if it is absent", async () => {
    const table = new RouteTable((await load(BASE)).routes);
    expect([table.defaultTarget, table.noServerNameTarget]).toEqual([0, 0]);
  });

  test('"*" takes all addresses of both families', async () => {
    const { listeners } = await load(BASE.replace("127.0.0.1", "*"));
    expect(listeners[0]).toMatchObject({
      name: "*:0",
      options: { address: expect.stringMatching(/^(::|0\.0\.0\.0)$/) },
    });
  });

  test("generation and memory of an earlier table are used", async () => {
    const file = folder.write(FILE, BASE);
    const first = await loadConfiguration(file);
    const second = await loadConfiguration(file, { generation: 7, region: first.routes });
    expect(second.door.generation).toBe(7);
    expect(second.routes).toBe(first.routes);
  });
});

describe("one wrong thing is one problem, with its place", () => {
  const allowedKeys = Object.keys(configurationSchema.shape).join(", ");
  const backend = (text: string) => `${LISTENERS}backends:\n  app: ${text}\ndefault: app\n`;
  const listener = (text: string) => `listeners:\n  - ${text}\nbackends: { app: { handoff: /a } }\ndefault: app\n`;
  const handoffKeys =
    "handoff, protocol, maxHello, balance, hold, maxHeld, maxHeldPerClient, acknowledgeTimeout, connect, maxConnections, fallback, user";
  const duration = "a number with its unit ms, s, m or h, such as 500ms or 5s";

  test.each<[string, string, string]>([
    // --- keys
    [
      "unknown key",
      `${BASE}worker: 2\n`,
      `4:1: worker: is not a known key, did you mean "workers"?; allowed: ${allowedKeys}`,
    ],
    ["a key of a later version", `${BASE}quic: app\n`, `4:1: quic: is not a known key; allowed: ${allowedKeys}`],
    [
      "unknown key of a backend",
      backend("{ handoff: /a, holdd: 5s }"),
      `3:23: backends.app.holdd: is not a known key, did you mean "hold"?; allowed: ${handoffKeys}`,
    ],
    [
      "key of another kind of backend",
      backend("{ reject: close, hold: 5s }"),
      "3:25: backends.app.hold: is not a known key; allowed: reject",
    ],
    [
      "two kinds of backend",
      backend("{ handoff: /a, reject: close }"),
      "3:23: backends.app.reject: cannot be beside handoff; allowed: one of handoff, relay, reject",
    ],
    [
      "no kind of backend",
      backend("{}"),
      "3:8: backends.app: found a map without keys; allowed: a map with the key handoff, relay or reject",
    ],
    [
      "a kind of backend of a later version",
      backend("{ proxy: 127.0.0.1:1 }"),
      "3:8: backends.app: found a map with proxy; allowed: a map with the key handoff, relay or reject",
    ],
    // --- types
    [
      "a backend that is text",
      backend("/run/a"),
      '3:8: backends.app: found "/run/a"; allowed: a map with the key handoff, relay or reject',
    ],
    [
      "no listeners",
      "backends: { app: { handoff: /a } }\ndefault: app\n",
      "1:1: listeners: is missing; allowed: a list of listeners, each with an address",
    ],
    [
      "an empty list of listeners",
      BASE.replace(/\[.*\]/, "[]"),
      "1:12: listeners: found an empty list; allowed: at least one listener",
    ],
    [
      "listeners as a map",
      BASE.replace(/\[(.*)\]/, "$1"),
      "1:12: listeners: found a map; allowed: a list of listeners, each with an address",
    ],
    [
      "a key without a value",
      `${BASE}routes:\n`,
      '4:8: routes: found nothing; allowed: a map of server names, or "*." and a parent domain, to backends',
    ],
    [
      "text for a number",
      `${BASE}workers: many\n`,
      '4:10: workers: found "many"; allowed: a whole number of threads from 1 to 128',
    ],
    [
      "a fraction",
      `${BASE}workers: 1.5\n`,
      "4:10: workers: found 1.5; allowed: a whole number of threads from 1 to 128",
    ],
    ["too many", `${BASE}workers: 129\n`, "4:10: workers: found 129; allowed: a whole number of threads from 1 to 128"],
    [
      "text for a boolean",
      listener('{ address: "*:1", v6Only: yes }'),
      '2:31: listeners[0].v6Only: found "yes"; allowed: true or false',
    ],
    [
      "a word that isn't one of them",
      `${BASE}log: { level: inf }\n`,
      '4:15: log.level: found "inf", did you mean "info"; allowed: debug, info, warn, error',
    ],
    [
      "a list for a backend's name",
      `${BASE}routes: { a.b: [app] }\n`,
      '4:17: routes["a.b"][0]: found "app"; allowed: a map with the key backend',
    ],
    // --- quantities
    [
      "a duration without a unit",
      `${BASE}timeouts: { hello: 5 }\n`,
      `4:20: timeouts.hello: found 5 without a unit (write 5s or 5ms); allowed: ${duration}, from 100ms to 10m`,
    ],
    [
      "the same in quotes",
      `${BASE}timeouts: { hello: "5" }\n`,
      `4:20: timeouts.hello: found "5" without a unit (write 5s or 5ms); allowed: ${duration}, from 100ms to 10m`,
    ],
    [
      "a duration that is too short",
      `${BASE}timeouts: { hello: 0 }\n`,
      `4:20: timeouts.hello: found 0; allowed: ${duration}, from 100ms to 10m`,
    ],
    [
      "a duration that is too long",
      backend("{ handoff: /a, hold: 2h }"),
      `3:29: backends.app.hold: found "2h"; allowed: ${duration}, from 0s to 1h`,
    ],
    [
      "a size without a unit",
      `${BASE}limits: { hello: 16384 }\n`,
      "4:18: limits.hello: found 16384 without a unit (write 16KiB); allowed: a number with its unit B, KiB, MiB or GiB, such as 16KiB, from 1KiB to 64KiB",
    ],
    [
      "a size in other units",
      `${BASE}limits: { hello: 16kB }\n`,
      '4:18: limits.hello: found "16kB"; allowed: a number with its unit B, KiB, MiB or GiB, such as 16KiB, from 1KiB to 64KiB',
    ],
    // --- listeners
    [
      "a name for an address",
      listener('{ address: "localhost:443" }'),
      '2:16: listeners[0].address: found "localhost:443"; allowed: "[::]:443" (IPv6), "0.0.0.0:443" (IPv4) or "*:443" (all addresses of both), with a port of 0 to 65535 (0: any free one)',
    ],
    [
      "a listener without an address",
      listener("{ backlog: 1 }"),
      '2:5: listeners[0].address: is missing; allowed: "[::]:443" (IPv6), "0.0.0.0:443" (IPv4) or "*:443" (all addresses of both), with a port of 0 to 65535 (0: any free one)',
    ],
    [
      "the same address twice",
      'listeners: [{ address: "[::1]:443" }, { address: "[::1]:443" }]\nbackends: { app: { handoff: /a } }\ndefault: app\n',
      '1:50: listeners[1].address: found "[::1]:443", the address of listeners[0] already',
    ],
    [
      "an address that another one includes",
      'listeners: [{ address: "*:443" }, { address: "127.0.0.1:443" }]\nbackends: { app: { handoff: /a } }\ndefault: app\n',
      '1:46: listeners[1].address: found "127.0.0.1:443", but listeners[0] has "*:443", which takes the same connections',
    ],
    [
      "v6Only for IPv4",
      listener('{ address: "127.0.0.1:1", v6Only: true }'),
      '2:39: listeners[0].v6Only: found true for "127.0.0.1:1", which is no IPv6 address; allowed: false',
    ],
    // --- backends
    [
      "a backend's name",
      backend("{ handoff: /a }").replaceAll("app", "a:b"),
      "3:3: backends[\"a:b\"]: found \"a:b\"; allowed: as a backend's name letters, digits, '.', '_' and '-', beginning with a letter or digit, at most 64",
    ],
    [
      "a path that is too long",
      backend(`{ handoff: /${"a".repeat(107)} }`),
      `3:19: backends.app.handoff: found a path of 108 bytes ("/${"a".repeat(74)}…"); allowed: 107 bytes (unix(7))`,
    ],
    [
      "an abstract name without a name",
      backend('{ handoff: "@" }'),
      '3:19: backends.app.handoff: found "@", which is no path',
    ],
    [
      "a user that isn't there",
      backend("{ handoff: /a, user: nobody-of-that-name }"),
      '3:29: backends.app.user: found "nobody-of-that-name", but there is no such user; allowed: a user\'s name or number',
    ],
    [
      "an unknown fallback",
      backend("{ handoff: /a, fallback: ap }"),
      '3:33: backends.app.fallback: found "ap", which is not a backend, did you mean "app"?; there are app',
    ],
    [
      "a backend that is its own fallback",
      backend("{ handoff: /a, fallback: app }"),
      "3:33: backends.app.fallback: fallbacks go in a circle: app -> app",
    ],
    // --- routes
    [
      "a route to an unknown backend",
      `${BASE}routes: { a.example: apq }\n`,
      '4:22: routes["a.example"]: found "apq", which is not a backend, did you mean "app"?; there are app',
    ],
    [
      "an unknown default",
      BASE.replace("default: app", "default: x"),
      '3:10: default: found "x", which is not a backend; there are app',
    ],
    [
      "the same name in another form",
      `${BASE}routes:\n  A.example: app\n  a.example.: app\n`,
      '6:3: routes["a.example."]: is the same name as "A.example" (names have no case and no dot at the end); allowed: each once',
    ],
    [
      "a name in Unicode",
      `${BASE}routes: { bücher.example: app }\n`,
      '4:11: routes["bücher.example"]: "bücher.example" holds "ü" (U+00FC), but clients send international names as A-labels: write "xn--bcher-kva.example"',
    ],
    [
      "a name that cannot be",
      `${BASE}routes: { "a b": app }\n`,
      '4:11: routes["a b"]: "a b" holds " " (U+0020): allowed are letters, digits, "-", "_" and "."',
    ],
    // --- maps
    [
      "a map that isn't there",
      `${BASE}maps: [missing.map]\n`,
      '4:8: maps[0]: cannot read "missing.map": ENOENT: no such file or directory',
    ],
    ["a folder as a map", `${BASE}maps: [/usr]\n`, '4:8: maps[0]: cannot read "/usr": it is no regular file'],
  ])("%s", async (_, text, problem) => {
    expect(await problemsOf(text)).toEqual([`${FILE}:${problem}`]);
  });

  test("a cycle of fallbacks is reported once, at its first backend", async () => {
    const text = `${LISTENERS}backends:
  a: { handoff: /a, fallback: b }
  b: { handoff: /b, fallback: c }
  c: { handoff: /c, fallback: b }
  d: { handoff: /d, fallback: a }
default: d
`;
    expect(await problemsOf(text)).toEqual([
      `${FILE}:4:31: backends.b.fallback: fallbacks go in a circle: b -> c -> b`,
    ]);
  });

  test("a file that isn't there, is a folder, or isn't text", async () => {
    const problem = async (file: string) =>
      loadConfiguration(file).then(
        () => undefined,
        (error: ConfigurationError) => error.message.replaceAll(`${folder.path}/`, ""),
      );
    expect(await problem(folder.at("missing.yaml"))).toBe(
      "missing.yaml:1:1: cannot be read: ENOENT: no such file or directory",
    );
    expect(await problem(folder.path)).toMatch(/:1:1: cannot be read: EISDIR: illegal operation on a directory$/);
    expect(await problem(folder.write("latin1.yaml", Buffer.from([0x61, 0x3a, 0xe4])))).toBe(
      "latin1.yaml:1:1: cannot be read: it is not UTF-8 text",
    );
  });

  test("an empty file lacks what is needed", async () => {
    expect(await problemsOf("")).toEqual([
      `${FILE}:1:1: listeners: is missing; allowed: a list of listeners, each with an address`,
      `${FILE}:1:1: backends: is missing; allowed: a map of backends by their names`,
    ]);
  });
});

test("all problems are told at once, in the order of the files", async () => {
  folder.write("good.map", "a.example app\n# comment\nbad_line\n*.example app\nb.example nobody\n");
  const problems = await problemsOf(`listeners:
  - address: 443
    backlog: lots
worker: 2
backends:
  app: { handoff: /a, hold: 5, fallback: gone }
  app: { handoff: /b }
routes:
  7: app
  a.example: gone
  A.b.: [app]
maps: [good.map, missing.map]
notTls: gone
`);
  expect(problems.map((problem) => problem.replace(/^([^ ]+) ([^ ]+): .*$/, "$1 $2"))).toEqual(
    [
      `${FILE}:2:14: listeners[0].address`,
      `${FILE}:3:14: listeners[0].backlog`,
      `${FILE}:4:1: worker`,
      `${FILE}:6:29: backends.app.hold`,
      `${FILE}:6:42: backends.app.fallback`,
      `${FILE}:7:3: backends.app`,
      `${FILE}:9:3: routes`,
      `${FILE}:10:14: routes["a.example"]`,
      `${FILE}:11:10: routes["A.b."][0]`,
      `${FILE}:12:18: maps[1]`,
      `${FILE}:13:9: notTls`,
      'good.map:3:1: found "bad_line" without a backend',
      'good.map:5:11: found backend "nobody", which is not configured; configured are "app"',
    ].map((each) => expect.stringContaining(each)),
  );
});

describe("maps", () => {
  test("add their names to the routes", async () => {
    folder.write("maps/a.map", "\ufeffa.example app\r\n*.b.example.  other # comment\n");
    const configuration = await load(
      `${LISTENERS}backends: { app: { handoff: /a }, other: { handoff: /b } }\nroutes: { c.example: app }\nmaps: [maps/a.map]\n`,
    );
    expect(configuration).toMatchObject({ names: 3, warnings: [] });
    const goes = (name: string) => explainName(configuration, name).route;
    expect(goes("A.example.")).toEqual({ kind: "exact", pattern: "a.example", backend: "app" });
    expect(goes("x.y.b.example")).toEqual({ kind: "wildcard", pattern: "*.b.example", backend: "other" });
    expect(goes("c.example")).toEqual({ kind: "exact", pattern: "c.example", backend: "app" });
    expect(goes("b.example")).toEqual({ kind: "default", pattern: "default", backend: "built-in:unrecognized_name" });
  });

  test("a name of a route, or of another map, with another backend is an error; with the same a warning", async () => {
    folder.write("1.map", "a.example app\nb.example app\n");
    folder.write("2.map", "B.example. app\n");
    const text = `${LISTENERS}backends: { app: { handoff: /a }, other: { handoff: /b } }\nmaps: [1.map, 2.map]\nroutes: { a.example: other }\n`;
    expect(await problemsOf(text)).toEqual(['1.map:1:1: "a.example" is routed to backend "other" already']);
    expect(await warningsOf(text.replace("a.example: other", "a.example: app, c.example: other"))).toEqual([
      '1.map:1:1: "a.example" is routed to this backend already',
      '2.map:1:1: "b.example" is routed to this backend already',
    ]);
  });

  test("the same file twice is an error", async () => {
    folder.write("1.map", "a.example app\n");
    expect(await problemsOf(`${BASE}maps: [1.map, ./1.map]\n`)).toEqual([
      `${FILE}:4:15: maps[1]: found "./1.map" a second time; allowed: each file once`,
    ]);
  });

  test("one bad line loses no other, and very many are counted", async () => {
    const lines = Array.from({ length: 300 }, (_, i) => `name${i} ${i % 2 ? "app" : "nobody"}`);
    folder.write("bad.map", lines.join("\n"));
    const problems = await problemsOf(`${BASE}maps: [bad.map]\n`);
    expect(problems).toHaveLength(101);
    expect(problems.at(-1)).toMatch(/the file has 50 more errors$/);
  });

  test("a hundred thousand names", async () => {
    folder.write("many.map", Array.from({ length: 100_000 }, (_, i) => `n${i}.example app\n`).join(""));
    const configuration = await load(`${LISTENERS}backends: { app: { handoff: /a } }\nmaps: [many.map]\n`);
    expect(configuration.names).toBe(100_000);
    expect(explainName(configuration, "n99999.example").route.kind).toBe("exact");
  });
});

describe("warnings", () => {
  test("of backends that nothing leads to", async () => {
    const text = `${LISTENERS}backends:
  a: { handoff: /a, fallback: b }
  b: { handoff: /b }
  c: { handoff: /c }
  d: { handoff: /d }
routes: { x.example: a }
notTls: c
`;
    expect(await warningsOf(text)).toEqual([`${FILE}:6:3: backends.d: is not used: nothing leads to it`]);
  });

  test("of routes that a less specific one makes needless", async () => {
    const text = `${LISTENERS}backends: { a: { handoff: /a }, b: { handoff: /b } }
routes:
  x.example: a
  y.example: b
  "*.example": b
  "*.x.example": a
  z.x.example: a
default: a
`;
    expect(await warningsOf(text)).toEqual([
      `${FILE}:5:3: routes["y.example"]: has no effect: "*.example" leads to b already`,
      `${FILE}:8:3: routes["z.x.example"]: has no effect: "*.x.example" leads to a already`,
    ]);
  });

  test("of routes as the default, however many", async () => {
    const routes = Array.from({ length: 25 }, (_, i) => `  r${i}.example: app\n`).join("");
    const warnings = await warningsOf(`${BASE}routes:\n${routes}`);
    expect(warnings).toHaveLength(21);
    expect(warnings[0]).toBe(`${FILE}:4:1: routes: has 5 more names without effect`);
    expect(warnings[1]).toBe(`${FILE}:5:3: routes["r0.example"]: has no effect: the default leads to app already`);
  });

  test("of two backends with one path", async () => {
    const text = `${LISTENERS}backends: { a: { handoff: x.sock }, b: { handoff: ./x.sock } }\nroutes: { a.b: a, b.b: b }\n`;
    expect(await warningsOf(text)).toEqual([
      `${FILE}:2:51: backends.b.handoff: is the path of backend a too: both go to the same processes`,
    ]);
  });
});

describe("explain", () => {
  const text = `${LISTENERS}backends:
  app:   { handoff: /run/app.sock, hold: 1500ms, fallback: sorry }
  pool:  { handoff: /run/pool.d/ }
  sorry: { reject: unrecognized_name }
routes: { a.b.example: app, "*.b.example": pool, "*.example": app }
default: sorry
noServerName: pool
`;

  test("says over which routes the winner won", async () => {
    expect(explainName(await load(text), "A.b.EXAMPLE.")).toMatchObject({
      name: "a.b.example",
      route: { kind: "exact", pattern: "a.b.example", backend: "app" },
      over: [
        { kind: "wildcard", pattern: "*.b.example", backend: "pool" },
        { kind: "wildcard", pattern: "*.example", backend: "app" },
        { kind: "default", pattern: "default", backend: "sorry" },
      ],
      backend: { name: "app" },
    });
  });

  test("an address is no server name", async () => {
    expect(explainName(await load(text), "192.0.2.1")).toMatchObject({
      route: { kind: "noServerName", backend: "pool" },
    });
  });

  test("what no client can send is an error", async () => {
    const configuration = await load(text);
    expect(() => explainName(configuration, "*.example")).toThrow(RangeError);
    expect(() => explainName(configuration, "a b")).toThrow(RangeError);
  });

  test("describes each kind of backend", async () => {
    const { backends } = (await load(text)).door;
    expect(backends.map((backend) => describeBackend(backend, backends))).toEqual([
      "socket /run/app.sock; held for 1500ms if nobody takes it, then sorry",
      "every socket in the folder /run/pool.d/, round-robin; held for 5s if nobody takes it, then refused with the alert internal_error",
      "refuses with the TLS alert unrecognized_name",
      "closes the connection",
    ]);
  });
});

describe("a backend of datagrams", () => {
  const tar = (more: string) => `${LISTENERS}backends: { tar: { handoff: ${more} } }\ndefault: tar\n`;

  test("has its own settings", async () => {
    const { door } = await load(tar("tar.sock, protocol: datagram, maxHello: 2KiB, hold: 1s"));
    expect(door.backends[0]).toEqual({
      kind: "datagram",
      name: "tar",
      path: folder.at("tar.sock"),
      hold: 1000,
      maxHeld: 10_000,
      maxHeldPerClient: 1000,
      maxHello: 2048,
      fallback: -1,
      uid: -1,
    });
    expect(describeBackend(door.backends[0]!, door.backends)).toBe(
      `datagrams to ${folder.at("tar.sock")}, hellos of up to 2KiB; held for 1s if nobody takes it, then refused with the alert internal_error`,
    );
  });

  test("has no keys of the other protocol, nor that its keys, and no folder", async () => {
    expect(await problemsOf(tar("/t/, protocol: datagram, balance: round-robin, maxConnections: 5"))).toEqual([
      'door.yaml:2:29: backends.tar.handoff: found "/t/", a folder; allowed with "protocol: datagram": one socket\'s path',
      'door.yaml:2:54: backends.tar.balance: has no meaning with "protocol: datagram"; allowed: leave it out',
      'door.yaml:2:76: backends.tar.maxConnections: has no meaning with "protocol: datagram"; allowed: leave it out',
    ]);
    expect(await problemsOf(tar("/t, maxHello: 2KiB"))).toEqual([
      'door.yaml:2:33: backends.tar.maxHello: has no meaning with "protocol: handoff"; allowed: leave it out',
    ]);
    expect(await problemsOf(tar("/t, protocol: datagram, maxHello: 100B"))).toEqual([
      expect.stringMatching(/^door\.yaml:2:63: backends\.tar\.maxHello: found /),
    ]);
    expect(await problemsOf(tar("/t, protocol: stream"))).toEqual([
      expect.stringMatching(/^door\.yaml:2:43: backends\.tar\.protocol: found "stream"/),
    ]);
  });
});
