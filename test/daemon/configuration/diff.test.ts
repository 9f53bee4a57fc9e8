/** What a reload would change. */
import { describe, expect, test } from "vitest";
import { diffConfigurations, formatDiff } from "../../../src/daemon/configuration/index.js";
import { ConfigurationFolder, LISTENERS } from "./scene.js";

const folder = new ConfigurationFolder();
const BASE = `${LISTENERS}workers: 2
backends:
  app: { handoff: /run/app.sock }
  pool: { handoff: /run/pool.d/ }
routes: { a.example: app, "*.example": pool }
default: pool
`;

async function diff(running: string, next: string) {
  return diffConfigurations(await folder.load(running), await folder.load(next));
}

const lines = async (running: string, next: string) => formatDiff(await diff(running, next));

describe("the comparison of two configurations", () => {
  test("of the same says that nothing changes, however it is written", async () => {
    const other = `# moved around
default: pool
routes: { "*.EXAMPLE": pool, A.example.: app }
backends:
  pool: { handoff: /run/pool.d/, hold: 5000ms }
  app: { handoff: /run/app.sock }
workers: 2
${LISTENERS}`;
    expect(await lines(BASE, other)).toEqual(["nothing changes"]);
  });

  test("tells listeners and backends that are added, removed and changed", async () => {
    const running = `listeners: [{ address: "127.0.0.1:1" }, { address: "127.0.0.1:2" }]
backends: { app: { handoff: /a, user: 5, fallback: old }, old: { handoff: /o }, both: { handoff: /b } }
routes: { a.b: both }
default: app
`;
    const next = `listeners: [{ address: "127.0.0.1:2", backlog: 7, deferAccept: 0 }, { address: "[::1]:3" }]
backends: { new: { reject: close }, both: { reject: reset }, app: { handoff: /a2, hold: 90s, fallback: new, maxConnections: 9 } }
routes: { a.b: both }
default: app
`;
    expect(await diff(running, next)).toMatchObject({
      listeners: { added: ["[::1]:3"], removed: ["127.0.0.1:1"] },
      backends: { added: ["new"], removed: ["old"] },
      settings: [],
    });
    expect(await lines(running, next)).toEqual([
      "+ listener [::1]:3",
      "- listener 127.0.0.1:1",
      '~ listeners["127.0.0.1:2"].backlog: 4096 -> 7',
      '~ listeners["127.0.0.1:2"].deferAccept: 1s -> 0s',
      "+ backend new",
      "- backend old",
      "~ backends.both.handoff: /b -> none",
      "~ backends.both.reject: none -> reset",
      "~ backends.app.handoff: /a -> /a2",
      "~ backends.app.hold: 5s -> 90s",
      "~ backends.app.fallback: old -> new",
      "~ backends.app.user: 5 -> none",
      "~ backends.app.maxConnections: 0 -> 9",
    ]);
  });

  test("says that what a listener's socket is bound with takes a restart", async () => {
    const restart = "(needs restart: an upgrade leaves it as it is)";
    const next = BASE.replace(LISTENERS, 'listeners: [{ address: "[::1]:3", v6Only: true, freebind: true }]\n');
    expect(await lines(BASE.replace(LISTENERS, 'listeners: [{ address: "[::1]:3" }]\n'), next)).toEqual([
      `~ listeners["[::1]:3"].v6Only: false -> true ${restart}`,
      `~ listeners["[::1]:3"].freebind: false -> true ${restart}`,
    ]);
  });

  test("tells every other key, and which take effect with the next upgrade or restart only", async () => {
    const next = `${BASE.replace("workers: 2", "workers: 3").replace("default: pool", "noServerName: app\nnotTls: pool")}
timeouts: { hello: 6s, drain: 1m, upgrade: 1m }
limits: { hello: 8KiB, waiting: 1, waitingPerClient: 1, held: 2, acceptRate: 3, acceptBurst: 4 }
log: { level: warn }
accessLog: { sample: 10 }
control: { path: /run/c.sock, mode: "600", group: 5 }
metrics: { address: "[::1]:9443" }
user: daemon
privileges: { landlock: true, keepBindService: true }
pidfile: /run/door.pid
`;
    const upgrade = " (needs restart: takes effect with the next upgrade or restart)";
    const restart = " (needs restart: an upgrade leaves it as it is)";
    expect(await lines(BASE, next)).toEqual([
      `~ workers: 2 -> 3${upgrade}`,
      "~ default: pool -> none",
      "~ noServerName: pool -> app",
      "~ timeouts.hello: 5s -> 6s",
      "~ timeouts.drain: 10s -> 1m",
      "~ timeouts.upgrade: 30s -> 1m",
      "~ limits.hello: 16KiB -> 8KiB",
      "~ limits.waiting: 10000 -> 1",
      "~ limits.waitingPerClient: 1000 -> 1",
      "~ limits.held: 20000 -> 2",
      "~ limits.acceptRate: 0 -> 3",
      "~ limits.acceptBurst: 100 -> 4",
      "~ log.level: info -> warn",
      "~ accessLog: errors -> one in 10",
      `~ privileges.landlock: false -> true${restart}`,
      `~ privileges.keepBindService: false -> true${restart}`,
      "~ notTls: none -> pool",
      `~ control.path: none -> /run/c.sock${upgrade}`,
      `~ control.mode: none -> 0600${upgrade}`,
      `~ control.group: none -> 5${upgrade}`,
      `~ metrics.address: none -> [::1]:9443${upgrade}`,
      `~ user: none -> daemon${restart}`,
      `~ group: none -> 1${restart}`,
      `~ pidfile: none -> /run/door.pid${upgrade}`,
    ]);
    const { settings } = await diff(next, BASE);
    expect(settings.filter(({ needs }) => needs !== undefined).map(({ key }) => key)).toEqual([
      "workers",
      "control.path",
      "control.mode",
      "control.group",
      "metrics.address",
      "user",
      "group",
      "privileges.landlock",
      "privileges.keepBindService",
      "pidfile",
    ]);
  });

  test("tells routes that are added, removed and moved, by the names of their backends", async () => {
    const next = BASE.replace('{ a.example: app, "*.example": pool }', '{ b.example: app, "*.example": app }');
    expect((await diff(BASE, next)).routes).toEqual({
      added: { count: 1, first: [{ name: "b.example", from: undefined, to: "app" }] },
      removed: { count: 1, first: [{ name: "a.example", from: "app", to: undefined }] },
      moved: { count: 1, first: [{ name: "*.example", from: "pool", to: "app" }] },
    });
    expect(await lines(BASE, next)).toEqual([
      "routes added: 1",
      "  + b.example -> app",
      "routes removed: 1",
      "  - a.example -> app",
      "routes moved: 1",
      "  ~ *.example: pool -> app",
    ]);
  });

  test("of a backend that is named anew tells its routes as moved", async () => {
    expect(await lines(BASE, BASE.replaceAll("app", "web").replace("/run/web", "/run/app"))).toEqual([
      "+ backend web",
      "- backend app",
      "routes moved: 1",
      "  ~ a.example: app -> web",
    ]);
  });

  test("tells the first twenty of very many routes, in the order of the files", async () => {
    const routes = (first: number) => Array.from({ length: 30 }, (_, i) => `  n${first + i}.example: app\n`).join("");
    const base = BASE.replace(/routes: .*\n/, "routes:\n");
    const text = (first: number) => base.replace("routes:\n", `routes:\n${routes(first)}`);
    const { added, removed, moved } = (await diff(text(0), text(25))).routes;
    expect(added.count).toBe(25);
    expect(added.first.map(({ name }) => name)).toEqual(Array.from({ length: 20 }, (_, i) => `n${30 + i}.example`));
    expect(removed.count).toBe(25);
    expect(removed.first.map(({ name }) => name)).toEqual(Array.from({ length: 20 }, (_, i) => `n${i}.example`));
    expect(moved).toEqual({ count: 0, first: [] });
    expect(await lines(text(0), text(25))).toContain("  and 5 more");
  });

  test("of a million names each takes about a second, and no memory for names that are equal", async () => {
    const names = 1_000_000;
    const map = (count: number, other: number) =>
      Array.from(
        { length: count },
        (_, i) => `customer-${i}.shop${i % 977}.example.com ${i < other ? "pool" : "app"}\n`,
      );
    folder.write("names.map", map(names, 0).join(""));
    const text = `${BASE}maps: [names.map]\n`;
    const running = await folder.load(text);
    folder.write("names.map", map(names + 1, 3).join(""));
    const next = await folder.load(text);
    const { heapUsed } = process.memoryUsage();
    const begun = process.cpuUsage();
    const { routes } = diffConfigurations(running, next);
    const seconds = process.cpuUsage(begun).user / 1e6;
    const megabytes = (process.memoryUsage().heapUsed - heapUsed) / 1e6;
    console.log(`${names} names compared in ${seconds.toFixed(2)} s, ${megabytes.toFixed(1)} MB`);
    expect([routes.added.count, routes.removed.count, routes.moved.count]).toEqual([1, 0, 3]);
    expect(routes.added.first).toEqual([{ name: `customer-${names}.shop529.example.com`, from: undefined, to: "app" }]);
    expect(seconds).toBeLessThan(30); // about one, of processor time, where it is not slow
    expect(megabytes).toBeLessThan(20);
  });
});
