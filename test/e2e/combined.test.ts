/** Listeners for HTTP, PROXY headers, datagrams, holds and fallbacks, all at once. */
import { createHash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { header } from "../proxy-protocol/support.js";
import type { RawClient } from "../support/raw-client.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";

const BALANCER = "127.0.0.2";
const source = { family: "IPv4", address: "192.0.2.1", port: 1 } as const;
const listener = `protocol: http, acceptProxyProtocol: [${BALANCER}]`;
const hello = Buffer.concat([buildHello({ serverName: "app.test" }), Buffer.from("END\n")]);
let scene: Scene;

beforeEach(() => {
  scene = new Scene();
});

afterEach(() => scene.end());

const configuration = () => `accessLog: all
backends:
  short: { handoff: "${scene.at("short")}", protocol: datagram, hold: 1s, fallback: web }
  long: { handoff: "${scene.at("long")}", protocol: datagram, hold: 60s }
  web: { handoff: "${scene.at("web")}", hold: 60s, acknowledgeTimeout: 60s }
http: { routes: { short.test: short, long.test: long }, default: web }
`;

const request = (host: string) => Buffer.from(`GET /${"x".repeat(40)} HTTP/1.1\r\nHost: ${host}\r\n\r\nEND\n`);
const digest = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const proxied = (version: 1 | 2) =>
  header(version, { source, destination: source, ...(version === 2 && { authority: "a".repeat(200) }) });

async function byteByByte(client: RawClient, bytes: Uint8Array): Promise<void> {
  for (const byte of bytes) {
    client.send(Uint8Array.of(byte));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

const answerTo = async (client: RawClient) => JSON.parse((await client.reply).received.toString());

describe("requests behind a PROXY header, for a receiver of datagrams", () => {
  it.each([1, 2] as const)("that never comes go to the fallback, which is told the client (v%i)", async (version) => {
    await scene.raw("web");
    await scene.startDoor(configuration(), { channels: 1, listener });
    const [whole, slow] = [await scene.client(undefined, BALANCER), await scene.client(undefined, BALANCER)];
    const bytes = request("short.test");
    whole.send(Buffer.concat([proxied(version), bytes]));
    await byteByByte(slow, Buffer.concat([proxied(version), bytes]));
    for (const client of [whole, slow]) {
      const told = { name: "web", client: "192.0.2.1 1", proxy: BALANCER, sha256: digest(bytes), count: bytes.length };
      expect(await answerTo(client)).toMatchObject(told);
    }
    expect(await scene.counters()).toMatchObject({
      accepted: 2,
      proxied: 2,
      held: 2,
      fallback: 2,
      acknowledged: 2,
      hello_spent: 0,
      defect: 0,
    });
  });

  it("wait for it through an upgrade and a reload, and come with the request alone", async () => {
    const door = await scene.startDoor(configuration(), { listener });
    const bytes = request("long.test");
    const [waiting, half, direct] = [
      await scene.client(Buffer.concat([proxied(2), bytes]), BALANCER),
      await scene.client(Buffer.concat([proxied(1), bytes.subarray(0, 20)]), BALANCER),
      await scene.client(bytes),
    ];
    const torn = await scene.client(proxied(2).subarray(0, 30), BALANCER);
    await scene.doorHas(4);
    expect(await door.upgrade()).toMatchObject({ event: "upgraded" });
    expect(await door.reload()).toMatchObject({ event: "reloaded" });
    half.send(bytes.subarray(20));
    torn.send(Buffer.concat([proxied(2).subarray(30), bytes]));
    await scene.backend({ kind: "raw", path: scene.at("long"), name: "long", protocol: "datagram" });
    for (const client of [waiting, half, direct, torn]) {
      expect(await answerTo(client)).toMatchObject({ name: "long", sha256: digest(bytes), count: bytes.length });
    }
    scene.idle += 1; // the socket to the receiver
    await until("the door to have no clients", () => scene.clientsOfDoor === 0);
  });
});

it("a listener that a reload makes one for TLS: who came before it speaks HTTP, who comes after it TLS", async () => {
  await scene.raw("web");
  const door = await scene.startDoor(configuration(), { channels: 1, listener });
  const bytes = request("app.test");
  const [half, torn] = [
    await scene.client(bytes.subarray(0, 20)),
    await scene.client(proxied(1).subarray(0, 10), BALANCER),
  ];
  await scene.doorHas(2);
  const tls = `${door.head.replace(/, protocol: http, acceptProxyProtocol: \[.*?\]/, "")}${configuration()}default: web\n`;
  door.write(tls.replace("127.0.0.1:0", `127.0.0.1:${door.port}`), { whole: true });
  const line = await door.reload();
  expect(line).toMatchObject({ event: "reloaded" });
  const after = await scene.client(hello, BALANCER);
  half.send(bytes.subarray(20));
  torn.send(Buffer.concat([proxied(1).subarray(10), bytes]));
  expect(await answerTo(half)).toMatchObject({ name: "web", count: bytes.length });
  expect(await answerTo(torn)).toMatchObject({ name: "web", count: bytes.length, client: "192.0.2.1 1" });
  expect(await answerTo(after)).toMatchObject({ name: "web", count: hello.length, serverName: "app.test" });
  expect(await scene.counters()).toMatchObject({ accepted: 3, proxied: 1, acknowledged: 3, defect: 0 });
});
