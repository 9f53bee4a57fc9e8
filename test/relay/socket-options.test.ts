/** What the relay sets on its sockets, and when: it runs in a thread here, so that its descriptors are this process's. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Socket } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Flag } from "../../src/handoff/layout.js";
import { sockets } from "../native/python.js";
import { Origin } from "../support/origin.js";
import { RawClient } from "../support/raw-client.js";
import { RelayPlane } from "../support/relay-plane.js";
import { until } from "../support/wait.js";

let plane: RelayPlane;
let origin: Origin;
let client: RawClient;
let target: Socket | undefined;

beforeEach(async () => {
  plane = new RelayPlane();
  origin = await Origin.start((socket) => {
    target = socket;
    socket.pipe(socket);
  });
});

afterEach(async () => {
  client.close();
  await origin.close();
  await plane.end();
});

async function relayed(proxyProtocol: "none" | "v1"): Promise<void> {
  await plane.start([{ name: "app", targets: [origin.target], proxyProtocol }]);
  client = await RawClient.connect(plane.port);
  await plane.handOver("app");
}

/** Sends it and waits until `bytes` in all have come back. */
async function echoed(text: string, bytes: number): Promise<void> {
  client.send(Buffer.from(text));
  await until(`${bytes} bytes`, () => client.socket.bytesRead === bytes);
}

/** A descriptor here of the IPv4 connection between these ports. */
function descriptorOf(local: number, remote: number): number {
  const hex = (port: number) => port.toString(16).toUpperCase().padStart(4, "0");
  const rows = readFileSync("/proc/self/net/tcp", "latin1").split("\n");
  const row = rows.find((each) => new RegExp(`:${hex(local)} [0-9A-F]+:${hex(remote)} 01 `).test(each));
  const link = `socket:[${row?.trim().split(/\s+/)[9]}]`;
  const isIt = (fd: string) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === link;
    } catch {
      return false;
    }
  };
  return Number(readdirSync("/proc/self/fd").find(isIt));
}

/** TCP_NODELAY of the relay's sockets: towards the client, towards the target. */
function noDelay(): string[] {
  const toClient = descriptorOf(plane.port, client.socket.localPort!);
  const toTarget = descriptorOf(target!.remotePort!, target!.localPort!);
  return sockets("no-delay", [2], [toClient, toTarget]);
}

test("TCP_NODELAY comes with the second bytes that a side is sent", async () => {
  await relayed("none");
  await echoed("first", 5);
  expect(noDelay()).toEqual(["0", "0"]);
  await echoed("second", 11);
  expect(noDelay()).toEqual(["1", "1"]);
});

test("a PROXY header is the first that a target is sent", async () => {
  await relayed("v1");
  await until("the header", () => client.socket.bytesRead > 0);
  await echoed("first", client.socket.bytesRead + 5);
  expect(noDelay()).toEqual(["1", "1"]);
});

test("a TLS client's hello shares the header's segment, so that the option waits for the next", async () => {
  await plane.start([{ name: "app", targets: [origin.target], proxyProtocol: "v1" }]);
  client = await RawClient.connect(plane.port);
  client.send(Buffer.from("hello"));
  await plane.handOver("app", { flags: Flag.TLS });
  const chunks: string[] = [];
  client.socket.on("data", (chunk) => chunks.push(chunk.toString()));
  await until("the hello", () => chunks.join("").endsWith("\r\nhello"));
  expect(noDelay()).toEqual(["0", "0"]);
  expect(Number(sockets("segments-in", [], [descriptorOf(target!.localPort!, target!.remotePort!)])[0])).toBe(1);
});
