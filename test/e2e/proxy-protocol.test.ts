/** Clients behind load balancers: the PROXY header is taken off exactly, and tells the client to everybody. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { header, v2 } from "../proxy-protocol/support.js";
import { vectors } from "../proxy-protocol/vectors.js";
import { certificate } from "../support/certificates.js";
import { openSockets } from "../support/descriptors.js";
import type { LogLine } from "../support/door-process.js";
import { program } from "../support/programs.js";
import { type RawClient, speak } from "../support/raw-client.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";
import { buildHello, postQuantumHello } from "../tls/hello-builder.js";

const run = promisify(execFile);
const END = Buffer.from("END\n");
const hello = Buffer.concat([buildHello({ serverName: "app.test", alpn: ["h2"] }), END]);
const source = { family: "IPv4", address: "203.0.113.7", port: 56324 } as const;
const source6 = { family: "IPv6", address: "2001:db8::7", port: 4711 } as const;
const destination = { family: "IPv4", address: "198.51.100.7", port: 443 } as const;
const v1Header = header(1, { source, destination });
const v2Header = header(2, { source: source6, destination, authority: "app.test", alpn: "h2", uniqueId: "42" });
const closed = { received: Buffer.alloc(0), end: "FIN" };

let scene: Scene;

beforeEach(() => {
  scene = new Scene();
});

afterEach(() => scene.end());

/** For those who have time. */
const SLOW = "timeouts: { hello: 60s }\n";
const configuration = (more = "timeouts: { hello: 2s }\n") => `accessLog: all
backends: { app: { handoff: "${scene.at("app")}", hold: 60s } }
routes: { app.test: app }
${more}`;
/** From this address come headers, from the others of the loopback none. */
const BALANCER = "127.0.0.2";
const listener = `acceptProxyProtocol: ["${BALANCER}", "fd00::/8"]`;

const start = (more?: string, options: Parameters<Scene["startDoor"]>[1] = {}) =>
  scene.startDoor(configuration(more), { listener, ...options });

const balanced = (...pieces: Uint8Array[]) => scene.client(Buffer.concat(pieces), BALANCER);

async function answer(client: RawClient): Promise<Record<string, unknown>> {
  const { received } = await client.reply;
  return JSON.parse(received.toString());
}

/** What the backend saw is every byte behind the header. */
function served(rest: Uint8Array, client: { address: string; port: number } | undefined) {
  const told = client && { client: `${client.address} ${client.port}`, proxy: BALANCER };
  const sha256 = createHash("sha256").update(rest).digest("hex");
  return { name: "app", serverName: "app.test", count: rest.length, sha256, ...told };
}

const accessLine = (matches: (line: LogLine) => boolean) => scene.door.event("access", matches);

describe("a header from a balancer", () => {
  it.each([
    ["version 1", v1Header, source],
    ["version 2, with TLVs", v2Header, source6],
    ["version 2, LOCAL", v2(0x20, 0, Buffer.from("whatever")), undefined],
    ["version 1, UNKNOWN", header(1, {}), undefined],
    ["version 2, of a unix socket", v2(0x21, 0x31, Buffer.alloc(216)), undefined],
    [
      "as HAProxy writes version 2",
      vectors.find(({ name }) => name === "haproxy-v2-tlvs")!.bytes.subarray(0, -5),
      {
        address: "127.0.0.1",
        port: 51790,
      },
    ],
  ])("of %s: the backend gets what is behind it, and the client that it tells", async (_, bytes, client) => {
    await scene.raw("app");
    await start(undefined, { channels: 1 });
    const peer = await balanced(bytes, hello);
    expect(await answer(peer)).toMatchObject(served(hello, client));
    const line = await accessLine(({ outcome }) => outcome === "handed_over");
    expect([line.client, line.proxy]).toEqual(
      client === undefined ? [BALANCER, undefined] : [client.address, BALANCER],
    );
    expect(line.server_name).toBe("app.test");
    expect(await scene.counters()).toMatchObject({ proxied: 1, proxy_header_invalid: 0, acknowledged: 1 });
  });

  it("may be split anywhere, from the hello too, down to single bytes", async () => {
    await scene.raw("app");
    await start(SLOW, { channels: 1 });
    for (const bytes of [v1Header, v2Header]) {
      const whole = Buffer.concat([bytes, hello]);
      const cuts = Array.from({ length: bytes.length + 8 }, (_, i) => i + 1);
      const clients = await Promise.all(cuts.map((cut) => balanced(whole.subarray(0, cut))));
      await scene.doorHas(cuts.length);
      for (const [i, client] of clients.entries()) client.send(whole.subarray(cuts[i]!));
      const client = bytes === v1Header ? source : source6;
      for (const each of clients) expect(await answer(each)).toMatchObject(served(hello, client));

      const slow = await balanced(whole.subarray(0, 1));
      for (const byte of whole.subarray(1)) {
        slow.send(Uint8Array.of(byte));
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect(await answer(slow)).toMatchObject(served(hello, client));
    }
    expect(await scene.counters()).toMatchObject({ proxy_header_invalid: 0, hello_timeout: 0, defect: 0 });
  });

  it("before a hello that is nearly as long as may be: not a byte is missing", async () => {
    await scene.raw("app");
    await start("limits: { hello: 4KiB }\n", { channels: 1 });
    const long = Buffer.concat([buildHello({ serverName: "app.test", totalLength: 4000 }), END]);
    const longest = v2(0x20, 0, Buffer.alloc(4080));
    for (const bytes of [v1Header, longest]) {
      expect(await answer(await balanced(bytes, long))).toMatchObject({ count: long.length });
    }
    const postQuantum = Buffer.concat([postQuantumHello("app.test"), END]);
    expect(await answer(await balanced(longest, postQuantum))).toMatchObject({ count: postQuantum.length });
    expect(await scene.counters()).toMatchObject({ proxied: 3, acknowledged: 3 });
  });

  it("is waited for until the deadline of the hello, which it does not move", async () => {
    await start();
    const begun = Date.now();
    const clients = [await balanced(), await balanced(v1Header.subarray(0, 20)), await balanced(v1Header)];
    clients.push(await balanced(v1Header, hello.subarray(0, 20)));
    for (const client of clients) expect(await client.reply).toEqual(closed);
    expect(Date.now() - begun).toBeLessThan(30_000);
    const line = await accessLine(({ reason }) => reason === "proxy_torn");
    expect(line).toMatchObject({ outcome: "timeout", client: BALANCER });
    expect(await scene.counters()).toMatchObject({ hello_timeout: 3, proxy_header_invalid: 1, proxied: 2 });
  });
});

describe("is refused, with its reason:", () => {
  it.each([
    ["no header", hello, "proxy_missing"],
    ["plain HTTP without one", Buffer.from("GET / HTTP/1.1\r\n\r\n"), "proxy_missing"],
    ["a malformed one", Buffer.from("PROXY TCP4 1.1.1.1 1.1.1.1 1 99999\r\n"), "proxy_port"],
    ["one that is too long, in version 1", Buffer.from(`PROXY UNKNOWN ${"x".repeat(200)}`), "proxy_too_long"],
    ["one that is too long, in version 2", v2(0x21, 0x11, Buffer.alloc(0), 0xffff), "proxy_too_long"],
    ["one of version 3", v2(0x31, 0x11, Buffer.alloc(12)), "proxy_version"],
  ])("%s", async (_, bytes, reason) => {
    const door = await start();
    const client = await balanced(bytes);
    expect(await client.reply).toEqual(closed);
    expect(await accessLine((line) => line.outcome === "refused")).toMatchObject({ reason, client: BALANCER });
    expect(await door.event("proxy.invalid")).toMatchObject({ level: "warn", reason, proxy: BALANCER });
    expect(await scene.counters()).toMatchObject({ proxy_header_invalid: 1, proxied: 0 });
  });

  it("one whose sender ends in the middle of it; but not one who connects and leaves, as a health check does", async () => {
    await start();
    const torn = await balanced(v1Header.subarray(0, 10));
    torn.finish();
    expect(await torn.reply).toEqual(closed);
    const check = await balanced();
    check.finish();
    expect((await check.reply).end).toBe("FIN");
    expect(await accessLine(({ reason }) => reason === "proxy_torn")).toMatchObject({ outcome: "refused" });
    expect(await scene.counters()).toMatchObject({ proxy_header_invalid: 1, client_gone: 1 });
  });
});

it("a header from somebody else is not TLS, and what he says of himself counts for nothing", async () => {
  await scene.raw("app");
  const door = await start(undefined, { channels: 1 });
  expect(await speak(door.port, Buffer.concat([v1Header, hello]))).toEqual(closed);
  expect(await speak(door.port, Buffer.concat([v2Header, hello]))).toEqual(closed);
  const plain = await scene.client(hello);
  expect(await answer(plain)).not.toHaveProperty("proxy");
  expect(await accessLine(({ reason }) => reason === "not_tls")).toMatchObject({ client: "127.0.0.1" });
  expect(await scene.counters()).toMatchObject({ not_tls: 2, proxied: 0, proxy_header_invalid: 0, acknowledged: 1 });
});

describe("limits", () => {
  it("of one client's waiting connections are of the client, not of the balancer", async () => {
    await start("limits: { waitingPerClient: 2 }\n");
    const silent = await Promise.all(Array.from({ length: 5 }, () => balanced()));
    const begun = await Promise.all(Array.from({ length: 5 }, () => balanced(v1Header.subarray(0, 20))));
    await scene.doorHas(10);
    const same = [await balanced(v1Header), await balanced(v1Header)];
    await scene.doorHas(12);
    expect(await (await balanced(v1Header)).reply).toMatchObject({ end: "FIN" });
    const other = await balanced(header(1, { source: { ...source, address: "203.0.113.8" }, destination }));
    await scene.doorHas(13);
    for (const client of [...silent, ...begun, ...same, other]) client.reset();
    expect(await scene.counters()).toMatchObject({
      client_full: 1,
      client_gone: 8,
      proxy_header_invalid: 5,
      proxied: 4,
    });
  });

  it("of a client's rate are too", async () => {
    await scene.raw("app");
    await start("limits: { acceptRate: 1, acceptBurst: 2 }\n", { channels: 1 });
    const others = Array.from({ length: 5 }, (_, i) =>
      header(1, { source: { ...source, address: `203.0.113.${i}` }, destination }),
    );
    for (const bytes of others) expect(await answer(await balanced(bytes, hello))).toMatchObject({ name: "app" });
    const same = await Promise.all(Array.from({ length: 10 }, () => balanced(v1Header, hello)));
    const ends = await Promise.all(same.map(async (client) => (await client.reply).end));
    expect(ends.filter((end) => end === "ECONNRESET").length).toBeGreaterThanOrEqual(5);
    const { rate_limited } = await scene.counters();
    expect(rate_limited).toBe(ends.filter((end) => end === "ECONNRESET").length);
  });

  it("are not of the balancer itself, such as its health checks, whose headers tell nobody", async () => {
    await scene.raw("app");
    await start("limits: { waitingPerClient: 1, acceptRate: 1, acceptBurst: 1 }\n", { channels: 1 });
    const local = v2(0x20, 0, Buffer.alloc(0));
    const checks = await Promise.all(Array.from({ length: 6 }, () => balanced(local, hello)));
    for (const check of checks) expect(await answer(check)).toMatchObject({ name: "app" });
    const waiting = await Promise.all(Array.from({ length: 6 }, () => balanced(local, hello.subarray(0, 20))));
    await scene.doorHas(6);
    for (const client of waiting) client.reset();
    expect(await scene.counters()).toMatchObject({ rate_limited: 0, client_full: 0, proxied: 12 });
  });
});

describe("once its header is read, a connection", () => {
  it("is held, and delivered whole, with its client", async () => {
    await start();
    const client = await balanced(v2Header, hello);
    await scene.doorHas(1);
    await scene.raw("app");
    expect(await answer(client)).toMatchObject(served(hello, source6));
    scene.idle += 1; // the channel
    expect(await scene.counters()).toMatchObject({ held: 1, acknowledged: 1, lost_after_read: 0 });
  });

  it("is given to another instance when the first one is killed with it unread", async () => {
    const pool = `backends: { app: { handoff: "${scene.folder}/pool/", hold: 60s, acknowledgeTimeout: 60s } }\n`;
    mkdirSync(`${scene.folder}/pool`);
    const at = (name: string) => `${scene.folder}/pool/${name}.sock`;
    const first = await scene.backend({ kind: "raw", path: at("a"), name: "app" });
    const door = await scene.startDoor(`${pool}routes: { app.test: app }\naccessLog: all\n`, { listener, channels: 1 });
    first.signal("SIGSTOP");
    const clients = await Promise.all([v1Header, v2Header].map((bytes) => balanced(bytes, hello)));
    await scene.doorHas(2);
    await until("the handoffs", async () => openSockets(door.pid) >= scene.idle + 2);
    const second = await scene.backend({ kind: "raw", path: at("b"), name: "app" });
    await scene.channels(2);
    await first.kill();
    const answers = await Promise.all(clients.map(answer));
    expect(answers[0]).toMatchObject({ ...served(hello, source), pid: second.pid });
    expect(answers[1]).toMatchObject({ ...served(hello, source6), pid: second.pid });
    await until("the door to let go", () => door.log.filter(({ event }) => event === "access").length === 2);
    expect(await door.stop()).toMatchObject({ redelivered: 2, lost_after_read: 0, acknowledged: 2 });
  });
});

it("an upgrade passes on headers that are half there, those that were read, and what they told", async () => {
  const door = await start(SLOW, { workers: 2 });
  const whole = Buffer.concat([v2Header, hello]);
  const inHeader = await Promise.all(Array.from({ length: 20 }, (_, i) => balanced(whole.subarray(0, 3 * i))));
  const inHello = await balanced(whole.subarray(0, v2Header.length + 20));
  const behindHeader = await balanced(v2Header);
  const held = await balanced(whole);
  const plain = await scene.client(hello.subarray(0, 20));
  await scene.doorHas(24);
  expect(await door.upgrade()).toMatchObject({ event: "upgraded", counters: { passed_on: 24, defect: 0 } });
  await scene.doorHas(24);
  for (const [i, client] of inHeader.entries()) client.send(whole.subarray(3 * i));
  inHello.send(whole.subarray(v2Header.length + 20));
  behindHeader.send(hello);
  plain.send(hello.subarray(20));
  await scene.raw("app");
  for (const client of [...inHeader, inHello, behindHeader, held]) {
    expect(await answer(client)).toMatchObject(served(hello, source6));
  }
  expect(await answer(plain)).not.toHaveProperty("proxy");
  await until("the lines", () => door.log.filter((line) => line.outcome === "handed_over").length === 24);
  const proxies = door.log
    .filter((line) => line.outcome === "handed_over")
    .map(({ client, proxy }) => `${client} ${proxy}`);
  expect(proxies.filter((each) => each === `${source6.address} ${BALANCER}`)).toHaveLength(23);
  scene.idle += 2; // the channels
  expect(await scene.counters()).toMatchObject({ adopted: 24, acknowledged: 24, lost_after_read: 0, defect: 0 });
});

it("a reload turns it on and off for those who come from then on", async () => {
  const door = await scene.startDoor(configuration(), { listener });
  const whole = readFileSync(door.file, "utf8");
  door.write(whole.replace(`, ${listener}`, ""), { whole: true });
  expect(await door.reload()).toMatchObject({ event: "reloaded" });
  expect(await (await balanced(v1Header)).reply).toEqual(closed);
  door.write(whole, { whole: true });
  expect(await door.reload()).toMatchObject({ event: "reloaded" });
  expect(await (await balanced(hello)).reply).toEqual(closed);
  expect(await scene.counters()).toMatchObject({ not_tls: 1, proxy_header_invalid: 1 });
});

it("curl --haproxy-protocol, and openssl behind a header: TLS follows it", async () => {
  const app = await certificate("app.test");
  await scene.backend({ kind: "https", path: scene.at("app"), certificate: app, name: "app" });
  const ca = join(scene.folder, "ca.pem");
  writeFileSync(ca, app.cert);
  const door = await scene.startDoor(configuration(SLOW), {
    listener: 'acceptProxyProtocol: ["127.0.0.0/8"]',
    channels: 1,
  });
  const { stdout } = await run(program("curl"), [
    ...["-sS", "--noproxy", "*", "--cacert", ca, "--haproxy-protocol"],
    ...["--resolve", `app.test:${door.port}:127.0.0.1`, `https://app.test:${door.port}/curl`],
  ]);
  const seen = JSON.parse(stdout);
  const line = await accessLine(({ outcome }) => outcome === "handed_over");
  expect(seen).toMatchObject({ name: "app", url: "/curl", client: `127.0.0.1:${line.client_port}` });
  expect(line).toMatchObject({ client: "127.0.0.1", proxy: "127.0.0.1", server_name: "app.test" });

  // openssl s_client writes no header: one goes before what it sends.
  const relay = createServer((near) => {
    const far = connect(door.port, "127.0.0.1", () => {
      far.write(v2Header);
      near.pipe(far).pipe(near);
    });
    for (const each of [near, far]) each.on("error", () => {});
  }).listen(0, "127.0.0.1");
  await once(relay, "listening");
  const { port } = relay.address() as AddressInfo;
  const openssl = execFile(program("openssl"), [
    ...["s_client", "-quiet", "-verify_return_error", "-CAfile", ca, "-servername", "app.test"],
    ...["-connect", `127.0.0.1:${port}`],
  ]);
  openssl.stdin!.write("GET /openssl HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n");
  let printed = "";
  openssl.stdout!.on("data", (data) => {
    printed += data;
  });
  await once(openssl, "close");
  relay.close();
  expect(printed).toContain(`"client":"${source6.address}:${source6.port}"`);
});
