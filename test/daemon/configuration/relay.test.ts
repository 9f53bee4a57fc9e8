/** What a configuration says of the relay: targets, folders, and what the relay's own process reads of it. */
import fc from "fast-check";
import { afterEach, describe, expect, test, vi } from "vitest";
import { describeBackend } from "../../../src/daemon/configuration/explain.js";
import { diffConfigurations, formatDiff } from "../../../src/daemon/configuration/index.js";
import { loadRelay } from "../../../src/daemon/configuration/load-relay.js";
import { relayControl } from "../../../src/daemon/configuration/relay.js";
import { parseTarget } from "../../../src/daemon/configuration/targets.js";
import { ConfigurationError } from "../../../src/errors.js";
import { ConfigurationFolder, LISTENERS } from "./scene.js";

const folder = new ConfigurationFolder();
const CONTROL = "control: /run/door/control.sock\n";
const one = (backend: string, more = "") =>
  `${LISTENERS}${CONTROL}${more}backends: { app: ${backend} }\ndefault: app\n`;

afterEach(() => vi.unstubAllEnvs());

describe("a target", () => {
  test.each([
    ["127.0.0.1:8443", { kind: "address", address: "127.0.0.1", port: 8443 }],
    ["[2001:db8::1]:443", { kind: "address", address: "2001:db8::1", port: 443 }],
    ["[fe80::1%eth0]:443", { kind: "address", address: "fe80::1%eth0", port: 443 }],
    ["app.Internal.:65535", { kind: "name", host: "app.internal", port: 65535 }],
    ["localhost:1", { kind: "name", host: "localhost", port: 1 }],
    ["_srv.a-b.x1:1", { kind: "name", host: "_srv.a-b.x1", port: 1 }],
    ["unix:/run/app.sock", { kind: "unix", path: "/run/app.sock" }],
    ["unix:beside.sock", { kind: "unix", path: "beside.sock" }],
    ["unix:@abstract", { kind: "unix", path: "@abstract" }],
  ])("%s", (text, parsed) => {
    expect(parseTarget(text)).toEqual({ text, ...parsed });
  });

  test.each([
    "",
    "127.0.0.1",
    "127.0.0.1:0",
    "127.0.0.1:65536",
    "127.0.0.1:https",
    "1.2.3:443",
    "app.123:443",
    "2001:db8::1:443",
    "[::1]",
    "[127.0.0.1]:443",
    "[::1]x:443",
    ":443",
    "a..b:443",
    "-a.b:443",
    "a-.b:443",
    "a b:443",
    `${"a".repeat(64)}.b:443`,
    "https://app:443",
    "unix:",
    "unix:@",
    "unix:/run/app/",
    "unix:/run/\0",
  ])("is not %j", (text) => {
    expect(parseTarget(text)).toBeUndefined();
  });

  test("of any text is none, or says what it was made of", () => {
    const port = fc.integer({ min: 1, max: 65535 });
    fc.assert(
      fc.property(fc.ipV4(), port, (address, number) => {
        expect(parseTarget(`${address}:${number}`)).toMatchObject({ kind: "address", address, port: number });
      }),
    );
    fc.assert(
      fc.property(fc.ipV6(), port, (address, number) => {
        expect(parseTarget(`[${address}]:${number}`)).toMatchObject({ kind: "address", address, port: number });
      }),
    );
    fc.assert(
      fc.property(fc.domain(), port, (host, number) => {
        expect(parseTarget(`${host}:${number}`)).toMatchObject({
          kind: "name",
          host: host.toLowerCase(),
          port: number,
        });
      }),
    );
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit: "binary" })), (text) => {
        expect(parseTarget(text)?.text ?? text).toBe(text);
      }),
    );
  });
});

describe("a relay backend", () => {
  test("is to the door a folder of instances, and to the relay its targets", async () => {
    const { door, relay } = await folder.load(
      `${LISTENERS}${CONTROL}backends:
  app: { relay: ["10.0.0.1:8443", "app.internal:443", "unix:app.sock"], proxyProtocol: v2, balance: least-connections, hold: 7s, maxConnections: 9, fallback: spare }
  spare: { relay: "[::1]:8443", connectTimeout: 1s, idleTimeout: 0, lifetime: 1h, keepAlive: false, fallback: own }
  own: { handoff: own.sock, fallback: next }
  next: { handoff: next.sock, hold: 0, fallback: tar }
  tar: { handoff: tar.sock, protocol: datagram }
  last: { relay: "10.0.0.2:8443", fallback: sorry }
  sorry: { reject: access_denied }
default: app
`,
    );
    expect(door.backends[0]).toMatchObject({
      kind: "handoff",
      path: "/run/door/control.relay/app/",
      hold: 7000,
      maxConnections: 9,
      fallback: 1,
      relay: ["10.0.0.1:8443", "app.internal:443", "unix:app.sock"],
    });
    expect(describeBackend(door.backends[0]!, door.backends)).toBe(
      "relay to 10.0.0.1:8443, app.internal:443, unix:app.sock; held for 7s if nobody takes it, then spare",
    );
    expect(relay).toMatchObject({ folder: "/run/door/control.relay/", start: true, drain: 600_000 });
    expect(relayControl(relay)).toBe("/run/door/control.relay/.control.sock");
    const [app, spare, last] = relay.backends;
    expect(app).toMatchObject({
      proxyProtocol: "v2",
      balance: "least-connections",
      connectTimeout: 3000,
      hold: 7000,
      idleTimeout: 600_000,
      lifetime: 0,
      keepAlive: true,
      fallback: { kind: "relay", backend: 1 },
    });
    expect(app!.targets[2]).toEqual({ kind: "unix", text: "unix:app.sock", path: `${folder.path}/app.sock` });
    expect(spare).toMatchObject({
      connectTimeout: 1000,
      idleTimeout: 0,
      lifetime: 3_600_000,
      keepAlive: false,
      fallback: {
        kind: "handoff",
        backend: "own",
        path: `${folder.path}/own.sock`,
        ...{ uid: -1, acknowledgeTimeout: 500, hold: 5000 },
        fallback: { kind: "handoff", backend: "next", hold: 0, fallback: { kind: "reject", reject: "internal_error" } },
      },
    });
    expect(last).toMatchObject({ fallback: { kind: "reject", reject: "access_denied" } });
  });

  const targets =
    '"192.0.2.1:8443", "[2001:db8::1]:8443", "app.internal:8443" (a name is resolved) or "unix:/run/app.sock", with a port of 1 to 65535';
  test.each([
    ["{ relay: nowhere }", `4:3: backends.app.relay: found "nowhere"; allowed: ${targets}, or a list of such`],
  ])("%s is refused with what is allowed", async (backend, problem) => {
    const [found] = await folder.problemsOf(one(backend));
    expect(found).toContain(`backends.app.relay: ${problem.replace(/^.*?: .*?: /, "")}`);
  });

  test.each([
    ["{ relay: [] }", "found an empty list"],
    ['{ relay: ["10.0.0.1:1", "x"] }', 'found "x"'],
    ['{ relay: ["10.0.0.1:1", "10.0.0.1:1"] }', 'found "10.0.0.1:1" a second time; allowed: each target once'],
    [`{ relay: "unix:/${"x".repeat(120)}" }`, "found a path of 121 bytes"],
    ['{ relay: "10.0.0.1:1", handoff: /a }', "cannot be beside handoff; allowed: one of handoff, relay, reject"],
    ['{ relay: "10.0.0.1:1", connect: lazily }', "is not a known key"],
    ['{ relay: "10.0.0.1:1", proxyProtocol: v3 }', 'found "v3"'],
    ['{ relay: "10.0.0.1:1", connectTimeout: 0 }', "found 0"],
    ['{ relay: "10.0.0.1:1", fallback: nobody }', 'found "nobody", which is not a backend'],
    ['{ relay: "10.0.0.1:1", fallback: app }', "app"],
  ])("%s is refused", async (backend, problem) => {
    expect((await folder.problemsOf(one(backend))).join("\n")).toContain(problem);
  });

  test("cannot have a fallback that takes datagrams", async () => {
    const text = `${LISTENERS}backends: { app: { relay: "10.0.0.1:1", fallback: tar }, tar: { handoff: /run/tar, protocol: datagram } }\ndefault: app\n`;
    expect(await folder.problemsOf(text)).toEqual([
      'door.yaml:2:51: backends.app.fallback: found "tar", which takes datagrams: the relay sends none; allowed: a backend of another kind',
    ]);
  });

  test("whose target is a listener of the door's is a warning", async () => {
    const text = (target: string) =>
      `listeners: [{ address: "*:8443" }, { address: "192.0.2.7:443" }]\nbackends: { app: { relay: "${target}" } }\ndefault: app\n`;
    expect(await folder.warningsOf(text("127.0.0.1:8443"))).toEqual([
      "door.yaml:2:27: backends.app.relay: is the listener *:8443 of the door itself: clients would go in a circle",
    ]);
    for (const target of ["192.0.2.7:443", "localhost:8443"])
      expect(await folder.warningsOf(text(target))).toHaveLength(1);
    for (const target of ["127.0.0.1:8444", "192.0.2.8:8443", "app.internal:8443"]) {
      expect(await folder.warningsOf(text(target))).toEqual([]);
    }
  });

  test("is compared with its own words", async () => {
    const before = await folder.load(one('{ relay: "10.0.0.1:1" }'));
    const after = await folder.load(
      one(
        '{ relay: ["10.0.0.1:1", "10.0.0.2:1"], proxyProtocol: v1 }',
        "relay: { folder: /run/x, workers: 3, drain: 1m }\n",
      ),
    );
    expect(formatDiff(diffConfigurations(before, after))).toEqual([
      "~ backends.app.relay: 10.0.0.1:1 -> 10.0.0.1:1, 10.0.0.2:1",
      "~ backends.app.proxyProtocol: none -> v1",
      "~ relay.folder: /run/door/control.relay/ -> /run/x/ (takes effect when the relay is restarted)",
      expect.stringMatching(/^~ relay\.workers: \d+ -> 3 \(takes effect when the relay is restarted\)$/),
      "~ relay.drain: 10m -> 1m",
    ]);
    const other = await folder.load(one("{ handoff: /run/app.sock }"));
    expect(formatDiff(diffConfigurations(before, other))).toEqual([
      "~ backends.app.handoff: none -> /run/app.sock",
      "~ backends.app.relay: 10.0.0.1:1 -> none",
    ]);
  });
});

describe("the relay's folder", () => {
  const folderOf = async (text: string) => (await folder.load(text)).relay.folder;
  const backends = 'backends: { app: { relay: "10.0.0.1:1" } }\ndefault: app\n';

  test("is named after the control socket, or the configuration file, so that no two doors share it", async () => {
    expect(await folderOf(`${LISTENERS}control: run/a.socket\n${backends}`)).toBe(`${folder.path}/run/a.relay/`);
    expect(await folderOf(`${LISTENERS}relay: { folder: run/b }\n${backends}`)).toBe(`${folder.path}/run/b/`);
    vi.stubEnv("XDG_RUNTIME_DIR", "/run/user/7");
    const own = await folderOf(LISTENERS + backends);
    expect(own).toMatch(/^\/run\/user\/7\/sni-handoff\/relay-[0-9a-f]{12}\/$/);
    vi.stubEnv("XDG_RUNTIME_DIR", "");
    expect(await folderOf(LISTENERS + backends)).toBe(own.replace("/run/user/7/", "/run/"));
  });

  test("has room for the sockets' names, or says how to get it", async () => {
    const long = `/run/${"x".repeat(90)}`;
    expect(await folder.problemsOf(`${LISTENERS}relay: { folder: ${long} }\n${backends}`)).toEqual([
      `door.yaml:2:18: relay.folder: app has sockets in ${long}/app/, whose paths have 121 bytes; allowed: 107 bytes (unix(7)); choose a shorter relay.folder`,
    ]);
  });
});

describe("the relay's process", () => {
  test("reads what concerns it, whatever is wrong elsewhere, in included files too", async () => {
    folder.write("more.yaml", 'backends: { late: { relay: "10.0.0.2:1" } }\nroutes: { "what?": nobody }\n');
    const file = folder.write(
      "door.yaml",
      `${CONTROL}listeners: [{ address: nonsense }]
include: more.yaml
workers: 3
maps: [gone.map]
backends: { app: { relay: "10.0.0.1:1" }, own: { handoff: /run/own.sock } }
routes: { "also?": nobody }
unheard: of
`,
    );
    const { relay, files } = await loadRelay(file);
    expect(relay.backends.map(({ name }) => name)).toEqual(["app", "late"]);
    expect(relay).toMatchObject({ folder: "/run/door/control.relay/", workers: 3 });
    expect(files).toEqual([file, `${folder.path}/more.yaml`]);
  });

  test("is told everything that is wrong with that", async () => {
    const file = folder.write(
      "door.yaml",
      'backends: { app: { relay: x }, own: { relay: "10.0.0.1:1", fallback: nobody } }\nrelay: { workers: 0, resolvers: [a] }\nuser: "no such user"\n',
    );
    const error = await loadRelay(file).catch((error) => error);
    expect(error).toBeInstanceOf(ConfigurationError);
    expect((error as ConfigurationError).problems.map(({ key }) => key).sort()).toEqual([
      "backends.app.relay",
      "backends.own.fallback",
      "relay.resolvers[0]",
      "relay.workers",
      "user",
    ]);
  });

  test("agrees with the door", async () => {
    const text = one('{ relay: ["10.0.0.1:1", "a.b:2"], proxyProtocol: v1 }', "relay: { drain: 1s }\n");
    const { relay } = await folder.load(text);
    expect((await loadRelay(folder.at("door.yaml"))).relay).toEqual(relay);
  });
});
