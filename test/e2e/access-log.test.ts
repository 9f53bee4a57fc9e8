/** The access log of a running door: one line a connection, right in every field, or a count of those that are missing. */
import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, readSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Child } from "../support/child.js";
import { sniHandoff } from "../support/command-line.js";
import type { LogLine } from "../support/door-process.js";
import { malformedHellos } from "../support/malformed-hellos.js";
import { inParallel, type RawClient, speak } from "../support/raw-client.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";

const END = Buffer.from("END\n");
const hello = (serverName: string, alpn: string[] = []) =>
  Buffer.concat([buildHello({ serverName, ...(alpn.length > 0 && { alpn }) }), END]);
let scene: Scene;

beforeEach(() => {
  scene = new Scene();
});

afterEach(() => scene.end());

const configuration = (mode: string, more = "") => `accessLog: ${mode}
timeouts: { hello: 1s }
backends:
  ${more}
  app: { handoff: "${scene.at("app")}", hold: 60s }
  gone: { handoff: "${scene.at("gone")}", hold: 0s, fallback: app }
  pool: { handoff: "${scene.folder}/pool/", hold: 60s }
  no: { reject: access_denied }
routes: { app.test: app, "*.app.test": app, gone.test: gone, pool.test: pool, no.test: no }
`;

const isAccess = (line: LogLine) => line.event === "access";
/** All of them, once there are so many. */
async function lines(count: number): Promise<LogLine[]> {
  await until(`${count} lines`, () => scene.door.log.filter(isAccess).length >= count);
  return scene.door.log.filter(isAccess);
}
/** What a client leaves when it is done. */
async function lineOf(client: RawClient): Promise<LogLine> {
  const port = client.socket.localPort;
  await client.reply;
  return scene.door.event("access", (line) => line.client_port === port);
}

describe("a line", () => {
  it("of a connection that was handed over says who came, where it went, and how long that took", async () => {
    const app = await scene.raw("app");
    const door = await scene.startDoor(configuration("all"), { channels: 1 });
    const before = Date.now();
    const bytes = buildHello({ serverName: "WWW.App.test", alpn: ["h2", "http/1.1"], versions: [0x0304], ech: 32 });
    const client = await scene.client(Buffer.concat([bytes, END]), "127.0.0.9");
    const { time, connection_id, waited_ms, handoff_ms, total_ms, ...rest } = await lineOf(client);
    expect(rest).toEqual({
      level: "info",
      event: "access",
      listener: "127.0.0.1:0",
      client: "127.0.0.9",
      client_port: client.socket.localPort,
      server_name: "www.app.test",
      alpn: "h2",
      tls_version: "1.3",
      ech: true,
      route: "wildcard *.app.test",
      backend: "app",
      instance_pid: app.pid,
      outcome: "handed_over",
      held_ms: 0,
      message: "www.app.test: handed over to app",
    });
    expect(connection_id).toMatch(/^\d+$/);
    expect(Math.abs(new Date(time as string).getTime() - before)).toBeLessThan(60_000);
    expect(handoff_ms).toBeGreaterThan(0);
    expect(total_ms as number).toBeGreaterThanOrEqual((waited_ms as number) + (handoff_ms as number) - 0.01);
    expect(total_ms).toBeLessThan(60_000);
    await door.stop();
  });

  it.each<[string, Uint8Array, object]>([
    [
      "a name without a route",
      hello("other.test"),
      { server_name: "other.test", route: "default", outcome: "refused", reason: "no_route" },
    ],
    [
      "a backend that rejects",
      hello("no.test"),
      { server_name: "no.test", route: "exact no.test", backend: "no", outcome: "refused", reason: "rejected" },
    ],
    ["what is no TLS", Buffer.from("GET / HTTP/1.1\r\n\r\n"), { outcome: "refused", reason: "not_tls" }],
    ["a malformed hello", malformedHellos.duplicate_extension, { outcome: "refused", reason: "duplicate_extension" }],
    ["a hello that does not end", hello("app.test").subarray(0, 40), { outcome: "timeout", reason: "hello_timeout" }],
  ])("of %s says why nobody got it", async (_title, bytes, expected) => {
    const door = await scene.startDoor(configuration("errors"));
    const client = await scene.client(bytes);
    const line = await lineOf(client);
    expect(line).toMatchObject({ client: "127.0.0.1", client_port: client.socket.localPort, ...expected });
    expect(line).not.toHaveProperty("instance_pid");
    for (const key of ["server_name", "backend"]) expect(key in line).toBe(key in expected);
    const { outcome, waited_ms, total_ms } = line;
    if (outcome === "timeout") expect(waited_ms).toBeGreaterThanOrEqual(900);
    expect(total_ms).toBeGreaterThanOrEqual(waited_ms as number);
    expect(total_ms).toBeLessThan(60_000);
    await door.stop();
  });

  it("of a client that is gone says where it was", async () => {
    const door = await scene.startDoor(configuration("errors"));
    const client = await scene.client(hello("app.test"));
    await scene.doorHas(1);
    client.reset();
    const [line] = await lines(1);
    expect(line).toMatchObject({ server_name: "app.test", backend: "app", outcome: "client_gone" });
    expect(line!.held_ms).toBeGreaterThan(0);
    await door.stop();
  });

  it("of a connection that was held, and then served, says how long", async () => {
    const door = await scene.startDoor(configuration("all"));
    const client = await scene.client(hello("app.test"));
    await scene.doorHas(1);
    const begun = performance.now();
    const app = await scene.raw("app");
    const line = await lineOf(client);
    expect(line).toMatchObject({ backend: "app", instance_pid: app.pid, outcome: "handed_over" });
    expect(line.held_ms).toBeGreaterThan(1);
    expect(line.held_ms).toBeLessThan(performance.now() - begun + 60_000);
    expect(line.total_ms).toBeGreaterThanOrEqual(line.held_ms as number);
    await door.stop();
  });

  it("of a fallback names the backend that took it", async () => {
    const app = await scene.raw("app");
    const door = await scene.startDoor(configuration("all"), { channels: 1 });
    expect(await lineOf(await scene.client(hello("gone.test")))).toMatchObject({
      route: "exact gone.test",
      backend: "app",
      instance_pid: app.pid,
      outcome: "handed_over",
    });
    await door.stop();
  });

  it("of a connection that one instance refused names the one that took it", async () => {
    execFileSync("mkdir", [join(scene.folder, "pool")]);
    const [full, free] = await Promise.all(
      ["full", "free"].map((name) =>
        scene.backend({ kind: "raw", path: join(scene.folder, "pool", `${name}.sock`), name }),
      ),
    );
    const door = await scene.startDoor(configuration("all"), { channels: 2 });
    full!.signal("SIGUSR2");
    await full!.child.line("its being overloaded", (line) => line.includes('"overloaded":true'));
    for (let i = 0; i < 4; i++) {
      const line = await lineOf(await scene.client(hello("pool.test")));
      expect(line).toMatchObject({ backend: "pool", instance_pid: free!.pid, outcome: "handed_over" });
    }
    expect(await door.stop()).toMatchObject({ acknowledged: 4, defect: 0 });
  });

  it("holds nothing that a terminal or a reader of lines would obey", async () => {
    const door = await scene.startDoor(configuration("all"));
    const alpn = '\x1b]0;x\x07\n"}\\\u0085\xff\x7f';
    const client = await scene.client(hello("other.test", [alpn]));
    const line = await lineOf(client);
    expect(line).toMatchObject({ alpn: '\\x1b]0;x\\x07\\x0a"}\\x5c\\x85\\xff\\x7f', reason: "no_route" });
    const raw = door.child.lines.find((text) => text.includes('"event":"access"'));
    expect(raw).toMatch(/^[\x20-\x7e]+$/);
    await door.stop();
  });
});

describe("which connections have one", () => {
  const visit = async () => {
    for (let i = 0; i < 10; i++) await (await scene.client(hello("app.test"))).reply;
    for (let i = 0; i < 2; i++) await (await scene.client(hello("other.test"))).reply;
  };
  const expectations: readonly [string, number, number, number][] = [
    ["errors", 0, 0, 2],
    // What comes after it comes late, and would be one too many then.
    ["off", 0, 0, 0],
    ["all", 10, 10, 2],
    ["{ sample: 5 }", 0, 9, 2],
  ];
  it("follows the configuration, over reloads", async () => {
    await scene.raw("app");
    const door = await scene.startDoor(configuration("off"), { channels: 1 });
    for (const [mode, least, most, refused] of expectations) {
      door.write(configuration(mode));
      await door.reload();
      const from = door.log.length;
      await visit();
      const of = (outcome: string) =>
        door.log.slice(from).filter((line) => isAccess(line) && line.outcome === outcome).length;
      await until("all lines", () => of("refused") >= refused && of("handed_over") >= least);
      expect(of("refused")).toBe(refused);
      expect(of("handed_over")).toBeGreaterThanOrEqual(least);
      expect(of("handed_over")).toBeLessThanOrEqual(most);
    }
    await scene.counters();
  });

  it("are named as their time had it, when a reload numbers backends anew", async () => {
    await scene.raw("app");
    const door = await scene.startDoor(configuration("all"), { channels: 1 });
    const name = (line: LogLine) => [line.server_name, line.backend, line.listener];
    const seen: unknown[] = [];
    const listener = `127.0.0.1:${door.port}`;
    const rest = (more: string) =>
      door.write(`listeners: [{ address: "127.0.0.2:0" }, { address: "${listener}" }]\n${configuration("all", more)}`, {
        whole: true,
      });
    for (const more of ["first: { reject: close }", "zero: { reject: reset }\n  first: { reject: close }", ""]) {
      // Right before a reload: what is in the rings then is of the generation before.
      const clients = await Promise.all(["app.test", "no.test"].map((each) => scene.client(hello(each))));
      await Promise.all(clients.map(({ reply }) => reply));
      rest(more);
      await door.reload();
      for (const client of clients) seen.push(name(await lineOf(client)));
    }
    expect(seen).toEqual([
      ["app.test", "app", "127.0.0.1:0"],
      ["no.test", "no", "127.0.0.1:0"],
      ...Array(2)
        .fill([
          ["app.test", "app", listener],
          ["no.test", "no", listener],
        ])
        .flat(),
    ]);
    await door.stop();
  });
});

describe("a standard output that nobody reads", () => {
  it("stops no client: lines are dropped, and counted when it is read again", async () => {
    const fifo = join(scene.folder, "fifo");
    execFileSync("mkfifo", [fifo]);
    const file = join(scene.folder, "door.yaml");
    const control = join(scene.folder, "control.sock");
    const text = configuration("all");
    writeFileSync(file, `listeners: [{ address: "127.0.0.1:0" }]\nworkers: 1\ncontrol: ${control}\n${text}`);
    const input = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    // Of its own: what a child process gets as its standard output is made blocking.
    const output = openSync(fifo, constants.O_WRONLY);
    const main = new URL("../../dist/cli/main.js", import.meta.url).pathname;
    const child = new Child(process.execPath, [main, "serve", "--config", file], {
      stdio: ["ignore", output, "pipe"],
    });
    try {
      const status = async () => {
        const { stdout } = await sniHandoff(["status", "--json", "--control", control]);
        return stdout === "" ? undefined : JSON.parse(stdout);
      };
      const { listeners } = await until("the door", status);
      const port = Number(listeners[0].address.split(":")[1]);
      // Long names fill the ring sooner.
      const long = buildHello({ serverName: `${`${"a".repeat(60)}.`.repeat(4)}test`, alpn: ["\xff".repeat(255)] });
      const clients = Array.from({ length: 4000 }, () => long);
      await inParallel(clients, 32, async (bytes) => {
        expect((await speak(port, bytes)).received.length).toBe(7); // the alert
      });
      const { counters, accessLog } = await status();
      expect(counters).toMatchObject({ accepted: 4000, no_route: 4000, defect: 0 });
      expect(accessLog.dropped).toBeGreaterThan(0);
      const read = readAll(input);
      const log = await until("the door to say how many it dropped", () => {
        const lines = read().map((line) => JSON.parse(line) as LogLine);
        const dropped = lines.filter(({ event }) => event === "access.dropped");
        const count = dropped.reduce((sum, line) => sum + (line.lines as number), 0);
        return lines.filter(isAccess).length + count === 4000 && { dropped: count, first: dropped[0] };
      });
      expect(log.dropped).toBe(accessLog.dropped);
      expect(log.first).toMatchObject({ level: "warn", message: expect.stringContaining("were dropped") });
      child.process.kill("SIGTERM");
      await until("its end", () => read() && !child.running);
      expect(await child.ended).toMatchObject({ status: 0 });
    } finally {
      await child.end("SIGKILL");
      for (const descriptor of [input, output]) closeSync(descriptor);
    }
  });

  /** Reads what there is; gives all whole lines so far. */
  function readAll(descriptor: number): () => string[] {
    let text = "";
    const buffer = Buffer.alloc(1 << 16);
    return () => {
      try {
        for (let length = 1; length > 0; ) {
          length = readSync(descriptor, buffer);
          text += buffer.toString("latin1", 0, length);
        }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      }
      return text.split("\n").slice(0, -1);
    };
  }
});
