/** Routes with conditions, access lists and patterns, in a running door: who gets where, and what is counted and said. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ALERT_CODES, alertRecord } from "../../src/tls/alerts.js";
import type { LogLine } from "../support/door-process.js";
import type { RawClient, Reply } from "../support/raw-client.js";
import { Scene } from "../support/scene.js";
import { buildHello, type HelloSpec, sslv2Hello } from "../tls/hello-builder.js";

const END = Buffer.from("END\n");
const hello = (serverName: string | undefined, more: HelloSpec = {}) =>
  Buffer.concat([buildHello({ ...(serverName !== undefined && { serverName }), ...more }), END]);
let scene: Scene;

beforeEach(async () => {
  scene = new Scene();
  for (const name of ["app", "acme", "inside", "modern", "pool"]) await scene.raw(name);
});

afterEach(() => scene.end());

const backends = () =>
  `backends:\n${["app", "acme", "inside", "modern", "pool"].map((name) => `  ${name}: { handoff: "${scene.at(name)}" }\n`).join("")}`;

const ports = new WeakMap<RawClient, number | undefined>();
/** Its port is known to nobody any more once it was reset. */
async function come(bytes: Uint8Array, address?: string): Promise<RawClient> {
  const client = await scene.client(bytes, address);
  ports.set(client, client.socket.localPort);
  return client;
}

async function servedBy(client: RawClient): Promise<string> {
  return JSON.parse((await client.reply).received.toString()).name;
}
/** The name of the backend that serves a client from `address`. */
const ask = async (bytes: Uint8Array, address?: string) => servedBy(await come(bytes, address));
const alert = (name: keyof typeof ALERT_CODES): Reply => ({ received: Buffer.from(alertRecord(name)), end: "FIN" });
/** The access log's line of a client that `come` brought. */
function lineOf(client: RawClient): Promise<LogLine> {
  return scene.door.event("access", (line) => line.client_port === ports.get(client));
}

describe("conditions", () => {
  it("lead each client to the first rule that holds, else to the next less specific route", async () => {
    await scene.startDoor(
      `${backends()}accessLog: all
routes:
  app.example.test:
    - { backend: acme, alpn: acme-tls/1 }
    - { backend: inside, clients: [127.0.1.0/24, "fd00::/8"] }
    - { backend: modern, tls: "1.3", alpn: [h2, h3] }
  "*.example.test": { backend: pool, tls: ["1.0", "1.1"] }
default: app
noServerName: { backend: inside, clients: 127.0.1.0/24 }
`,
      { channels: 5 },
    );
    const name = "app.example.test";
    const tls13 = { versions: [0x2a2a, 0x0304, 0x0303] };
    const cases: [bytes: Uint8Array, address: string, backend: string, route: string][] = [
      [hello(name, { alpn: ["acme-tls/1"] }), "127.0.1.1", "acme", "exact app.example.test, rule 1"],
      [hello(name, { alpn: ["h2", "http/1.1", "acme-tls/1"] }), "127.0.0.1", "acme", "exact app.example.test, rule 1"],
      [hello(name, { alpn: ["acme-tls/"] }), "127.0.1.255", "inside", "exact app.example.test, rule 2"],
      [hello(name, { alpn: ["http/1.1", "h2"], ...tls13 }), "127.0.2.0", "modern", "exact app.example.test, rule 3"],
      [hello(name, { alpn: ["http/1.1"], ...tls13 }), "127.0.2.0", "app", "default"],
      [hello(name, { alpn: ["h2"] }), "127.0.2.0", "app", "default"],
      [hello(name, { versions: [0x0302, 0x0301] }), "127.0.2.0", "pool", "wildcard *.example.test, rule 1"],
      [hello(name, { legacyVersion: 0x0301 }), "127.0.2.0", "pool", "wildcard *.example.test, rule 1"],
      [hello(undefined), "127.0.1.1", "inside", "noServerName, rule 1"],
      [hello(undefined), "127.0.2.1", "app", "default"],
      [Buffer.concat([sslv2Hello({ version: 0x0301 }), END]), "127.0.1.1", "inside", "noServerName, rule 1"],
    ];
    for (const [bytes, address, backend, route] of cases) {
      const client = await come(bytes, address);
      expect({ route, backend: await servedBy(client) }).toEqual({ route, backend });
      expect(await lineOf(client)).toMatchObject({ route, backend, outcome: "handed_over" });
    }
    expect(await scene.counters()).toMatchObject({
      acknowledged: cases.length,
      by_rule: 8,
      by_pattern: 0,
      access_denied: 0,
    });
  });

  it("see the client whom a load balancer tells of, in access lists as well", async () => {
    await scene.startDoor(
      `${backends()}routes:
  app.test: [{ backend: inside, clients: [10.1.0.0/16, "2001:db8::/32"] }, { backend: pool }]
  closed.test: { backend: app, access: { deny: 10.1.0.0/16 } }
`,
      { channels: 5, listener: "acceptProxyProtocol: [127.0.0.0/8]" },
    );
    const told = (client: string, name: string) =>
      Buffer.concat([Buffer.from(`PROXY ${client} 40000 443\r\n`), hello(name)]);
    expect(await ask(told("TCP4 10.1.2.3 192.0.2.1", "app.test"))).toBe("inside");
    expect(await ask(told("TCP6 2001:db8::7 2001:db8::1", "app.test"))).toBe("inside");
    expect(await ask(told("TCP4 10.2.0.0 192.0.2.1", "app.test"))).toBe("pool");
    expect(await ask(told("TCP4 10.2.0.0 192.0.2.1", "closed.test"))).toBe("app");
    expect(await (await come(told("TCP4 10.1.255.255 192.0.2.1", "closed.test"))).reply).toEqual(
      alert("access_denied"),
    );
    expect(await scene.counters()).toMatchObject({ acknowledged: 4, access_denied: 1, proxied: 5 });
  });

  it("that nobody meets leave the client without a route", async () => {
    await scene.startDoor(
      `${backends()}routes: { app.test: { backend: app, clients: 127.0.1.0/24 } }
default: [{ backend: pool, alpn: h2 }]
`,
      { channels: 5 },
    );
    expect(await ask(hello("app.test", { alpn: ["h2"] }))).toBe("pool");
    for (const bytes of [hello("app.test"), hello("other.test"), hello(undefined)]) {
      const client = await come(bytes);
      expect(await client.reply).toEqual(alert("unrecognized_name"));
      expect(await lineOf(client)).toMatchObject({ route: "default", outcome: "refused", reason: "no_route" });
    }
    expect(await scene.counters()).toMatchObject({ acknowledged: 1, no_route: 3 });
  });
});

describe("an access list", () => {
  it("refuses as it says, after its rule has won, and counts it", async () => {
    await scene.startDoor(
      `${backends()}routes:
  allow.test: { backend: app, access: { allow: [127.0.1.0/24, "::1"] } }
  deny.test: { backend: app, access: { deny: 127.0.1.0/24, reject: internal_error } }
  both.test: { backend: app, access: { allow: 127.0.0.0/8, deny: [127.0.1.0/25, 127.0.1.200], reject: reset } }
  "*.test": pool
default: { backend: inside, access: { deny: 127.0.1.0/24, reject: close } }
noServerName: { backend: modern, access: { allow: 127.0.2.0/24, reject: unrecognized_name } }
`,
      { channels: 5 },
    );
    expect(await ask(hello("allow.test"), "127.0.1.7")).toBe("app");
    expect(await ask(hello("deny.test"), "127.0.2.7")).toBe("app");
    expect(await ask(hello("both.test"), "127.0.1.199")).toBe("app");
    expect(await ask(hello("x.allow.test"), "127.0.2.7")).toBe("pool");
    expect(await ask(hello("other.example"), "127.0.2.7")).toBe("inside");
    expect(await ask(hello(undefined), "127.0.2.7")).toBe("modern");
    const closed = { received: Buffer.alloc(0), end: "FIN" };
    const refused: [name: string | undefined, address: string, reply: Reply, backend: string][] = [
      ["allow.test", "127.0.2.7", alert("access_denied"), "app"],
      ["deny.test", "127.0.1.7", alert("internal_error"), "app"],
      ["both.test", "127.0.1.127", { ...closed, end: "ECONNRESET" }, "app"],
      ["both.test", "127.0.1.200", { ...closed, end: "ECONNRESET" }, "app"],
      ["other.example", "127.0.1.7", closed, "inside"],
      [undefined, "127.0.1.7", alert("unrecognized_name"), "modern"],
    ];
    for (const [name, address, reply, backend] of refused) {
      const client = await come(hello(name), address);
      expect(await client.reply).toEqual(reply);
      expect(await lineOf(client)).toMatchObject({
        client: address,
        backend,
        outcome: "refused",
        reason: "access_denied",
      });
    }
    expect(await scene.counters()).toMatchObject({ acknowledged: 6, access_denied: 6, rejected: 0, defect: 0 });
  });
});

describe("patterns", () => {
  const patterns = `patterns:
  - { match: "tenant-[0-9]+\\\\.example\\\\.test", backend: pool, tls: "1.2" }
  - { match: "a|a[.]b", backend: inside }
  - { match: "TENANT-.*", backend: modern, access: { deny: 127.0.1.0/24 } }
  - { match: "(([a.]*)*)*b", backend: acme }
`;

  it("take whole names that no route takes, in their order, before the default", async () => {
    await scene.startDoor(
      `${backends()}accessLog: all
routes: { tenant-1.example.test: app, "*.sub.test": { backend: app, alpn: h2 } }
${patterns}default: acme
`,
      { channels: 5 },
    );
    const cases: [name: string, backend: string, route: string][] = [
      ["tenant-1.example.test", "app", "exact tenant-1.example.test"],
      ["Tenant-22.Example.Test.", "pool", "pattern tenant-[0-9]+\\.example\\.test"],
      ["tenant-x.example.test", "modern", "pattern TENANT-.*"],
      ["my-tenant-22.example.test", "acme", "default"],
      ["a.b", "inside", "pattern a|a[.]b"],
      ["tenant-5.sub.test", "modern", "pattern TENANT-.*"],
    ];
    for (const [name, backend, route] of cases) {
      const client = await come(hello(name));
      expect({ name, backend: await servedBy(client) }).toEqual({ name, backend });
      expect(await lineOf(client)).toMatchObject({ route, backend });
    }
    const client = await come(hello("tenant-x"), "127.0.1.1");
    expect(await client.reply).toEqual(alert("access_denied"));
    expect(await lineOf(client)).toMatchObject({ route: "pattern TENANT-.*", reason: "access_denied" });
    // Of 250 letters a backtracking engine would need 2^250 steps.
    expect(await ask(hello(`${`${"a".repeat(61)}.`.repeat(4)}a-`))).toBe("acme");
    expect(await scene.counters()).toMatchObject({ acknowledged: 7, by_pattern: 5, by_rule: 0, access_denied: 1 });
  });

  it("do not see clients without a name", async () => {
    await scene.startDoor(`${backends()}patterns: [{ match: ".*", backend: app }]\n`, { channels: 5 });
    expect(await ask(hello("any.test"))).toBe("app");
    expect(await (await come(hello(undefined))).reply).toEqual(alert("unrecognized_name"));
    expect(await scene.counters()).toMatchObject({ acknowledged: 1, no_route: 1 });
  });
});

describe("rules in force", () => {
  const inside = (network: string) =>
    `${backends()}routes: { app.test: [{ backend: inside, clients: ${network} }, { backend: pool }] }\n`;

  it("are those of the last reload", async () => {
    const door = await scene.startDoor(inside("127.0.1.0/24"), { channels: 5 });
    expect(await ask(hello("app.test"), "127.0.1.1")).toBe("inside");
    door.write(inside("127.0.2.0/24"));
    expect(await door.reload()).toMatchObject({ event: "reloaded" });
    expect(await ask(hello("app.test"), "127.0.1.1")).toBe("pool");
    expect(await ask(hello("app.test"), "127.0.2.1")).toBe("inside");
    const patterns = (backend: string, match = "app[.].*") =>
      `${backends()}patterns: [{ match: "${match}", backend: ${backend} }]\n`;
    for (const [match, backend] of [
      ["app[.].*", "modern"],
      ["app[.].*", "pool"],
      ["a.*", "acme"],
    ] as const) {
      door.write(patterns(backend, match));
      expect(await door.reload()).toMatchObject({ event: "reloaded" });
      expect(await ask(hello("app.test"), "127.0.2.1")).toBe(backend);
    }
    expect(await scene.counters()).toMatchObject({ acknowledged: 6, defect: 0 });
  });

  it("are the successor's for connections that it is passed in an upgrade", async () => {
    const door = await scene.startDoor(inside("127.0.1.0/24"), { channels: 5 });
    const bytes = hello("app.test");
    const clients = [await come(bytes.subarray(0, 40), "127.0.1.1"), await come(bytes.subarray(0, 40))];
    await scene.doorHas(2);
    door.write(inside("127.0.1.0/24").replace("{ backend: pool }", "{ backend: pool, access: { deny: 127.0.0.1 } }"));
    expect(await door.upgrade()).toMatchObject({ event: "upgraded", counters: { passed_on: 2 } });
    for (const client of clients) client.send(bytes.subarray(40));
    expect(await servedBy(clients[0]!)).toBe("inside");
    expect(await clients[1]!.reply).toEqual(alert("access_denied"));
    expect(await scene.counters()).toMatchObject({ adopted: 2, acknowledged: 1, access_denied: 1 });
  });
});
