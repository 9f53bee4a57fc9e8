/** Bytes through the relay: all of them, in order, to the end; ends and resets as they are; and connections that rest. */
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer, type TLSSocket, connect as tlsConnect } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Certificate, certificate } from "../support/certificates.js";
import { openDescriptors, openSockets } from "../support/descriptors.js";
import { until } from "../support/wait.js";
import { browserHello } from "../tls/hello-builder.js";
import { drink, pour } from "./support/gigabyte.js";
import { RelayedDoor } from "./support/relayed-door.js";

const GIGABYTE = 1_000_000_000;
const HELLO = browserHello("plain.test");

let folder: string;
let front: RelayedDoor;
let made: Certificate;
/** What either origin does with its next connection. */
let serve: (socket: Socket) => void;
let tls: Server;
let plain: Server;
/** The relay's sockets when nobody is connected. */
let idle: number;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-transfer-"));
  made = await certificate("tls.test");
  tls = createTlsServer({ ...made, allowHalfOpen: true }, (socket) => serve(socket));
  plain = createServer({ allowHalfOpen: true }, (socket) => serve(socket));
  for (const server of [tls, plain]) await once(server.listen(0, "127.0.0.1"), "listening");
  front = await RelayedDoor.start(
    folder,
    `
backends:
  tls: { relay: "127.0.0.1:${(tls.address() as AddressInfo).port}" }
  plain: { relay: "127.0.0.1:${(plain.address() as AddressInfo).port}", idleTimeout: 10m }
routes:
  tls.test: tls
  plain.test: plain
`,
  );
  idle = openSockets(front.relay.pid);
});

afterAll(async () => {
  await front?.stop();
  for (const server of [tls, plain]) server.close();
  rmSync(folder, { recursive: true });
});

describe("a gigabyte over TLS", () => {
  it("is what the server sent, if the client has ended its side before", async () => {
    const sent = new Promise<string>((resolve, reject) => {
      serve = async (socket) => {
        try {
          socket.resume();
          await once(socket, "end");
          resolve(await pour(socket, GIGABYTE));
          socket.end();
        } catch (error) {
          reject(error);
        }
      };
    });
    const client = await tlsClient();
    client.end();
    const { bytes, sha256 } = await drink(client);
    expect(bytes).toBe(GIGABYTE);
    expect(sha256).toBe(await sent);
    await nothingIsLeft();
  });

  it("is what the client sent, if the server has ended its side before", async () => {
    const received = new Promise<{ bytes: number; sha256: string }>((resolve, reject) => {
      serve = (socket) => {
        socket.end("nothing more from here");
        drink(socket).then(resolve, reject);
      };
    });
    const client = await tlsClient();
    client.resume();
    await once(client, "end");
    const sent = await pour(client, GIGABYTE);
    client.end();
    expect(await received).toEqual({ bytes: GIGABYTE, sha256: sent });
    await nothingIsLeft();
  });
});

describe("a reset", () => {
  it("of the client's reaches the server as one, not as an end", async () => {
    const ended = new Promise<string>((resolve) => {
      serve = (socket) => resolve(howItEnds(socket));
    });
    const client = await plainClient();
    await pour(client, 8_000_000);
    client.resetAndDestroy();
    expect(await ended).toBe("ECONNRESET");
    await nothingIsLeft();
  });

  it("of the server's reaches the client as one, not as an end", async () => {
    serve = async (socket) => {
      socket.resume();
      await pour(socket, 8_000_000);
      socket.resetAndDestroy();
    };
    const client = await plainClient();
    expect(await howItEnds(client)).toBe("ECONNRESET");
    await nothingIsLeft();
  });

  it("of a server that has ended its side, while the client sends, reaches the client", async () => {
    serve = async (socket) => {
      socket.end("half");
      for await (const _ of socket) break;
      socket.resetAndDestroy();
    };
    const client = await plainClient();
    client.resume();
    await once(client, "end");
    const failed = new Promise<string>((resolve) => {
      client.on("error", (error: NodeJS.ErrnoException) => resolve(error.code!));
    });
    const writing = setInterval(() => client.write("more"), 5);
    expect(["ECONNRESET", "EPIPE"]).toContain(await failed);
    clearInterval(writing);
    await nothingIsLeft();
  });
});

it("5,000 connections that rest cost little, and go on when the door is killed", async () => {
  const CONNECTIONS = 5000;
  serve = (socket) => {
    socket.on("error", () => {});
    socket.pipe(socket);
  };
  const before = { memory: proportionalBytes(front.relay.pid), descriptors: openDescriptors(front.relay.pid).length };
  const clients: Socket[] = [];
  let lost = 0;
  try {
    for (let i = 0; i < CONNECTIONS; i++) {
      // Addresses over 127.1.0.0/16: their ports are their own.
      const client = await plainClient(`127.1.${(i >> 8) & 255}.${i & 255}`);
      client.on("close", () => lost++);
      clients.push(client);
    }
    await Promise.all(clients.map((client) => echoed(client, HELLO.length)));
    await until("the door to have none of them", () => openSockets(front.door.pid) < 100);
    const after = { memory: proportionalBytes(front.relay.pid), descriptors: openDescriptors(front.relay.pid).length };
    const perConnection = {
      bytes: (after.memory - before.memory) / CONNECTIONS,
      descriptors: (after.descriptors - before.descriptors) / CONNECTIONS,
    };
    console.log(
      `${CONNECTIONS} idle connections: ${perConnection.bytes.toFixed(0)} bytes and ${perConnection.descriptors.toFixed(3)} descriptors of the relay each`,
    );
    // Its two sockets; pipes are borrowed while bytes are on the way.
    expect(perConnection.descriptors).toBeLessThan(2.1);
    expect(perConnection.bytes).toBeLessThan(16 * 1024);

    await front.door.kill();
    const answers = clients.map((client, i) => {
      const question = Buffer.from(`still there, ${i}?`);
      const answer = echoed(client, question.length);
      client.write(question);
      return answer.then((bytes) => bytes.equals(question));
    });
    expect((await Promise.all(answers)).filter((isRight) => isRight)).toHaveLength(CONNECTIONS);
    expect(lost).toBe(0);
  } finally {
    for (const client of clients) client.destroy();
  }
  await nothingIsLeft();
});

async function tlsClient(): Promise<TLSSocket> {
  const options = { port: front.port, servername: "tls.test", ca: made.cert, allowHalfOpen: true };
  const client = tlsConnect(options);
  await once(client, "secureConnect");
  return client;
}

/** Connected, and its hello is sent. */
async function plainClient(localAddress = "127.0.0.1"): Promise<Socket> {
  const client = connect({ port: front.port, host: "127.0.0.1", localAddress, allowHalfOpen: true });
  await once(client, "connect");
  client.write(HELLO);
  return client;
}

/** "end", or the error's code. */
function howItEnds(socket: Socket): Promise<string> {
  socket.resume();
  return new Promise((resolve) => {
    socket.on("end", () => resolve("end"));
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code!));
  });
}

/** The next so many bytes. */
function echoed(socket: Socket, length: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    const take = (data: Buffer) => {
      parts.push(data);
      const all = Buffer.concat(parts);
      if (all.length < length) return;
      socket.off("data", take).off("close", lose);
      resolve(all);
    };
    const lose = () => reject(new Error("closed before it answered"));
    socket.on("data", take).on("close", lose);
  });
}

function nothingIsLeft(): Promise<unknown> {
  return until("the relay to have let go of all", () => openSockets(front.relay.pid) <= idle);
}

/** Memory of a process, pages shared with others in part. */
function proportionalBytes(pid: number): number {
  return 1024 * Number(/^Pss: +(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))![1]);
}
