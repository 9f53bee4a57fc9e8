import { pino } from "pino";
import { prettyFactory } from "pino-pretty";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type AccessEvents, AccessLog, type AccessLogOptions } from "../../src/daemon/access-log.js";
import { LineSink } from "../../src/daemon/line-sink.js";
import type { DaemonLog } from "../../src/daemon/log.js";
import type { AccessEvent, MatchedRoute } from "../../src/door/access-events.js";
import { MatchKind } from "../../src/routing/match.js";

beforeEach(() => {
  vi.useFakeTimers();
});

const logs: AccessLog[] = [];
afterEach(() => {
  for (const log of logs.splice(0)) log.close();
  vi.useRealTimers();
});

const handedOver: AccessEvent = {
  generation: 1,
  acceptedAt: 1735689600123.456,
  connectionId: "18446744073709551615",
  client: { family: "IPv6", address: "2001:db8::1", port: 40000 },
  proxy: undefined,
  listener: 1,
  protocol: "tls",
  serverName: "a.app.example.com",
  alpn: "h2",
  tlsVersion: 0x0304,
  ech: false,
  route: { kind: MatchKind.WILDCARD, length: ".app.example.com".length, rule: -1, pattern: -1 },
  backend: 0,
  pid: 4711,
  outcome: "handed_over",
  reason: "",
  waited: 1.23456,
  held: 0,
  handoff: 0.5,
  total: 1.75,
};

/** Before anything is known of a connection. */
const nothingKnown: AccessEvent = {
  ...handedOver,
  client: undefined,
  listener: -1,
  serverName: "",
  alpn: "",
  tlsVersion: 0,
  route: { kind: -1, length: 0, rule: -1, pattern: -1 },
  backend: -1,
  pid: -1,
  outcome: "refused",
  reason: "not_tls",
  handoff: -1,
};

const names = { listeners: ["127.0.0.1:443", "[::]:443"], backends: ["app"], patterns: ["a", "t[0-9]+\\.test"] };

class Ring implements AccessEvents {
  readonly events: AccessEvent[] = [];
  dropped = 0;

  read(each: (event: AccessEvent) => void, most = Number.POSITIVE_INFINITY): number {
    const some = this.events.splice(0, most);
    for (const event of some) each(event);
    return some.length;
  }

  add(count: number, event: AccessEvent = handedOver): void {
    for (let i = 0; i < count; i++) this.events.push({ ...event, connectionId: String(i) });
  }
}

/** An access log on an output that may be blocked. */
class Scene {
  readonly rings: readonly Ring[] = [new Ring(), new Ring()];
  readonly ring = this.rings[0]!;
  blocked = false;
  writes = 0;
  text = "";
  readonly log: AccessLog;

  constructor({ level = "info", format = (line: string) => line, ...options }: SceneOptions = {}) {
    const sink = new LineSink(-1, {
      format,
      write: (bytes) => {
        if (this.blocked) throw new Error("EAGAIN");
        this.writes++;
        this.text += Buffer.from(bytes).toString();
        return bytes.length;
      },
    });
    const log: DaemonLog = Object.assign(pino({ level, messageKey: "message" }, sink), { sink });
    this.log = new AccessLog(this.rings, log, options);
    this.log.configure(1, names);
    logs.push(this.log);
  }

  get lines(): Record<string, unknown>[] {
    return this.text
      .trimEnd()
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line));
  }

  get accesses(): number {
    return this.lines.filter(({ event }) => event === "access").length;
  }

  line(event: Partial<AccessEvent> = {}): Record<string, unknown> {
    this.text = "";
    this.ring.events.push({ ...handedOver, ...event });
    this.log.flush();
    expect(this.lines).toHaveLength(1);
    return this.lines[0]!;
  }
}

type SceneOptions = AccessLogOptions & { readonly level?: string; readonly format?: (line: string) => string };

test("a handed-over connection is one line with everything about it", () => {
  expect(new Scene().line()).toEqual({
    level: "info",
    time: "2025-01-01T00:00:00.123Z",
    event: "access",
    connection_id: "18446744073709551615",
    listener: "[::]:443",
    client: "2001:db8::1",
    client_port: 40000,
    server_name: "a.app.example.com",
    alpn: "h2",
    tls_version: "1.3",
    ech: false,
    route: "wildcard *.app.example.com",
    backend: "app",
    instance_pid: 4711,
    outcome: "handed_over",
    waited_ms: 1.235,
    held_ms: 0,
    handoff_ms: 0.5,
    total_ms: 1.75,
    message: "a.app.example.com: handed over to app",
  });
});

test("what is not known is left out", () => {
  expect(new Scene().line(nothingKnown)).toEqual({
    level: "info",
    time: "2025-01-01T00:00:00.123Z",
    event: "access",
    connection_id: "18446744073709551615",
    ech: false,
    outcome: "refused",
    reason: "not_tls",
    waited_ms: 1.235,
    held_ms: 0,
    total_ms: 1.75,
    message: "no name: refused (not_tls)",
  });
});

test("routes and versions are in words", () => {
  const scene = new Scene();
  const route = (kind: MatchKind, more: Partial<MatchedRoute> = {}) =>
    scene.line({ route: { kind, length: 0, rule: -1, pattern: -1, ...more } }).route;
  expect(route(MatchKind.EXACT)).toBe("exact a.app.example.com");
  expect(route(MatchKind.DEFAULT)).toBe("default");
  expect(route(MatchKind.DEFAULT, { rule: 2 })).toBe("default, rule 3");
  expect(route(MatchKind.NO_SERVER_NAME, { rule: 0 })).toBe("noServerName, rule 1");
  expect(route(MatchKind.PATTERN, { pattern: 1 })).toBe("pattern t[0-9]+\\.test");
  expect(route(MatchKind.PATTERN, { pattern: 7 })).toBe("pattern");
  const version = (tlsVersion: number) => scene.line({ tlsVersion }).tls_version;
  expect([0x0300, 0x0301, 0x0302, 0x0303, 0x0304, 0x7f1c, 2].map(version)).toEqual([
    "SSL 3.0",
    "1.0",
    "1.1",
    "1.2",
    "1.3",
    "0x7f1c",
    "0x0002",
  ]);
});

const hostile = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)).toString("latin1");

test.each([
  ["JSON", undefined],
  ["pretty", prettyFactory({ singleLine: true, messageKey: "message", colorize: false })],
])("a client cannot write lines or terminal sequences into the log: %s", (_, format) => {
  const scene = new Scene(format === undefined ? {} : { format });
  scene.ring.events.push({ ...handedOver, alpn: hostile });
  scene.ring.events.push({ ...handedOver, alpn: '\x1b[2J"}\r\n{"event":"access"}', serverName: "\x9b2J.\n\u2028x" });
  scene.log.flush();
  expect(scene.text).toMatch(/^[\x20-\x7e]*\n[\x20-\x7e]*\n$/);
  expect(scene.text).not.toContain('"event":"access"}');
});

test("an escape says which byte it was, and cannot be feigned", () => {
  const scene = new Scene();
  expect(scene.line({ alpn: "h2\x00 \x7f\xff" }).alpn).toBe(String.raw`h2\x00\x20\x7f\xff`);
  expect(scene.line({ alpn: String.raw`\x00` }).alpn).toBe(String.raw`\x5cx00`);
});

test("the lines are written whatever the log's level is", () => {
  expect(new Scene({ level: "error" }).line().event).toBe("access");
});

test("names are those of the event's generation, also after later ones", () => {
  const scene = new Scene();
  scene.log.configure(2, { listeners: [], backends: ["other"], patterns: [] });
  expect(scene.line().backend).toBe("app");
  expect(scene.line({ generation: 2 })).toMatchObject({ backend: "other" });
  for (let generation = 3; generation < 100; generation++) scene.log.configure(generation, names);
  expect(scene.line({ generation: 99 }).backend).toBe("app");
  expect(scene.line({ generation: 2 })).not.toHaveProperty("backend");
});

test("the rings are read by a timer, in batches of one write, no more than a number of lines each time", () => {
  const scene = new Scene({ every: 250, most: 1000 });
  for (const ring of scene.rings) ring.add(1500);
  vi.advanceTimersByTime(250);
  expect(scene.accesses).toBe(1000);
  expect(scene.writes).toBeLessThan(10);
  // Each worker has its turn.
  expect(Math.abs(scene.rings[0]!.events.length - scene.rings[1]!.events.length)).toBeLessThanOrEqual(256);
  scene.log.flush();
  expect(scene.accesses).toBe(1000);
  vi.advanceTimersByTime(500);
  expect(scene.accesses).toBe(3000);
});

test("while the output is blocked the rings are not read, and go on when it is free", () => {
  const scene = new Scene();
  scene.blocked = true;
  scene.ring.add(3000);
  vi.advanceTimersByTime(10_000);
  const left = scene.ring.events.length;
  expect(left).toBeGreaterThanOrEqual(3000 - 256);
  scene.blocked = false;
  vi.advanceTimersByTime(500);
  expect(scene.accesses).toBe(3000);
  expect(scene.lines.map((line) => line.connection_id)).toEqual(Array.from({ length: 3000 }, (_, i) => String(i)));
});

test("losses are said at most once a second, and counted", () => {
  const scene = new Scene();
  const said = () => scene.lines.map(({ event, lines }) => [event, lines]);
  scene.rings[0]!.dropped = 3;
  scene.rings[1]!.dropped = 4;
  vi.advanceTimersByTime(250);
  expect(said()).toEqual([["access.dropped", 7]]);
  scene.ring.dropped += 10;
  vi.advanceTimersByTime(750);
  expect(said()).toHaveLength(1);
  scene.ring.dropped += 10;
  vi.advanceTimersByTime(250);
  expect(said()).toEqual([
    ["access.dropped", 7],
    ["access.dropped", 20],
  ]);
  vi.advanceTimersByTime(10_000);
  expect(said()).toHaveLength(2);
  expect(scene.log.dropped).toBe(27);
});

test("a ring that cannot be read is given up, said once, and the others go on", () => {
  const scene = new Scene();
  scene.ring.dropped = 2;
  scene.ring.read = () => {
    throw new RangeError("a record beyond the ring");
  };
  scene.rings[1]!.add(10);
  vi.advanceTimersByTime(1000);
  expect(scene.accesses).toBe(10);
  const failures = scene.lines.filter(({ event }) => event === "access.failed");
  expect(failures).toMatchObject([{ message: expect.stringContaining("a record beyond the ring") }]);
  expect(scene.log.dropped).toBe(2);
});

test("close writes what is left and ends the timer", () => {
  const scene = new Scene({ most: 10 });
  scene.ring.add(3000);
  scene.log.close();
  expect(scene.accesses).toBe(3000);
  expect(vi.getTimerCount()).toBe(0);
  scene.ring.add(1);
  vi.advanceTimersByTime(1000);
  expect(scene.accesses).toBe(3000);
});
