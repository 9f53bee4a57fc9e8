import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import * as http from "node:http";
import * as http2 from "node:http2";
import * as https from "node:https";
import * as net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as tls from "node:tls";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { ADDRESS_BYTES, type Address, writeAddress } from "../../src/addresses.js";
import { attach, handoffInfo } from "../../src/backend/index.js";
import type { Receiver } from "../../src/handoff/receiver.js";
import { Bridge } from "../support/bridge.js";
import { type Certificate, certificate } from "../support/certificates.js";
import { openDescriptors } from "../support/descriptors.js";
import { until } from "../support/wait.js";

const client: Address = { family: "IPv6", address: "2001:db8::7", port: 56324 };
const server: Address = { family: "IPv4", address: "198.51.100.7", port: 443 };
const remote = "2001:db8::7 56324 IPv6";

let folder: string;
let path: string;
let before: string[];
let bridge: Bridge;
let receiver: Receiver;
let own: Certificate;

beforeAll(async () => {
  own = await certificate("app.example");
});

beforeEach(() => {
  before = openDescriptors();
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-"));
  path = join(folder, "door.sock");
});

afterEach(async () => {
  const end = receiver.close();
  await bridge.drain();
  await end;
  bridge.close();
  rmSync(folder, { recursive: true });
  await until("the descriptors of before", () => openDescriptors().length === before.length);
});

function packed(address: Address): Uint8Array {
  const bytes = new Uint8Array(ADDRESS_BYTES);
  writeAddress(address, bytes, 0);
  return bytes;
}

async function attached(to: net.Server): Promise<void> {
  receiver = await attach(to, { path });
  bridge = await Bridge.open(path);
  bridge.told = { flags: 1, consumed: 52, client: packed(client), server: packed(server) };
}

const remoteOf = ({ remoteAddress, remotePort, remoteFamily }: net.Socket) =>
  `${remoteAddress} ${remotePort} ${remoteFamily}`;

async function body(stream: NodeJS.ReadableStream): Promise<string> {
  let text = "";
  for await (const chunk of stream) text += chunk;
  return text;
}

describe("the client that a PROXY header told is what the socket reports:", () => {
  it("net, whatever asks, and after its end too; handoffInfo has both sides of it", async () => {
    let socket: net.Socket | undefined;
    await attached(
      net.createServer((given) => {
        socket = given;
        given.end(remoteOf(given));
      }),
    );
    const peer = net.connect(bridge.port, "127.0.0.1");
    const answer = body(peer);
    await once(peer, "connect");
    const { localPort } = peer;
    await bridge.deliver();
    expect(await answer).toBe(remote);
    await until("the end", () => socket!.destroyed);
    expect(handoffInfo(socket!)).toMatchObject({
      client,
      server,
      proxy: { family: "IPv4", address: "127.0.0.1", port: localPort },
    });
  });

  it("tls", async () => {
    await attached(tls.createServer({ cert: own.cert, key: own.key }, (socket) => socket.end(remoteOf(socket))));
    const peer = tls.connect({ port: bridge.port, host: "127.0.0.1", servername: own.name, ca: own.cert });
    const answer = body(peer);
    await bridge.deliver();
    expect(await answer).toBe(remote);
  });

  it("http", async () => {
    await attached(http.createServer((request, response) => response.end(remoteOf(request.socket))));
    const request = http.get({ port: bridge.port, host: "127.0.0.1", agent: false });
    const response = once(request, "response");
    await bridge.deliver();
    expect(await body((await response)[0])).toBe(remote);
  });

  it("https, and its access to handoffInfo", async () => {
    await attached(
      https.createServer({ cert: own.cert, key: own.key }, (request, response) => {
        expect(handoffInfo(request)).toMatchObject({ client, server, tls: true });
        response.end(remoteOf(request.socket));
      }),
    );
    const at = { port: bridge.port, host: "127.0.0.1", servername: own.name, ca: own.cert, agent: false };
    const response = once(https.get(at), "response");
    await bridge.deliver();
    expect(await body((await response)[0])).toBe(remote);
  });

  it("http2 over TLS", async () => {
    await attached(
      http2.createSecureServer({ cert: own.cert, key: own.key }, (request, response) => {
        expect(handoffInfo(request)).toMatchObject({ client, server });
        response.end(`${remoteOf(request.socket)}, ${remoteOf(request.stream.session!.socket)}`);
      }),
    );
    const session = http2.connect(`https://127.0.0.1:${bridge.port}`, { ca: own.cert, servername: own.name });
    const answer = body(session.request({ ":path": "/" }));
    await bridge.deliver();
    expect(await answer).toBe(`${remote}, ${remote}`);
    session.close();
    await once(session, "close");
  });
});

it("a header that tells no address leaves the connection's own", async () => {
  await attached(
    net.createServer((socket) => {
      expect(handoffInfo(socket)).not.toHaveProperty("client");
      expect(handoffInfo(socket)).not.toHaveProperty("proxy");
      socket.end(remoteOf(socket));
    }),
  );
  bridge.told = { flags: 1, consumed: 16 };
  const peer = net.connect(bridge.port, "127.0.0.1");
  const answer = body(peer);
  await once(peer, "connect");
  const { localPort } = peer;
  await bridge.deliver();
  expect(await answer).toBe(`127.0.0.1 ${localPort} IPv4`);
});
