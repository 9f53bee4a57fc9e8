/** Bytes through the relay: all of them, in order, to the end; ends and resets as they are; and connections that rest. */
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer, type TLSSocket, connect as tlsConnect } from "node:tls";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Certificate, certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { openDescriptors, openSockets } from "../support/descriptors.js";
import { program } from "../support/programs.js";
import { until } from "../support/wait.js";
import { browserHello } from "../tls/hello-builder.js";
import { freePort } from "./support/free-port.js";
import { drink, pour } from "./support/gigabyte.js";
import { RelayedDoor } from "./support/relayed-door.js";

const GIGABYTE = 1_000_000_000;
/** More than all buffers on the way hold. */
const MUCH = 64_000_000;
const HELLO = browserHello("plain.test");
const fixture = fileURLToPath(new URL("fixtures/endpoint.py", import.meta.url));

let folder: string;
let front: RelayedDoor;
let made: Certificate;
/** What either origin does with its next connection. */
let serve: (socket: Socket) => void;
let tls: Server;
let plain: Server;
/** Where a server of another kind listens for a while: see `between`. */
let rawPort: number;
/** The relay's sockets when nobody is connected. */
let idle: number;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-transfer-"));
  made = await certificate("tls.test");
  tls = createTlsServer({ ...made, allowHalfOpen: true }, (socket) => serve(socket));
  plain = createServer({ allowHalfOpen: true }, (socket) => serve(socket));
  for (const server of [tls, plain]) await once(server.listen(0, "127.0.0.1"), "listening");
  rawPort = await freePort();
  front = await RelayedDoor.start(
    folder,
    `
backends:
  tls: { relay: "127.0.0.1:${(tls.address() as AddressInfo).port}" }
  plain: { relay: "127.0.0.1:${(plain.address() as AddressInfo).port}" }
  raw: { relay: "127.0.0.1:${rawPort}" }
routes:
  tls.test: tls
  plain.test: plain
  raw.test: raw
`,
    ["tls", "plain", "raw"],
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
    const { server } = await between(["read"], [`send:${MUCH}`, "reset"]);
    expect(server).toMatchObject({ how: "ECONNRESET" });
  });

  it("of the server's reaches the client as one, not as an end", async () => {
    const { client } = await between(["first", `send:${MUCH}`, "reset"], ["read"]);
    expect(client).toMatchObject({ how: "ECONNRESET" });
  });

  it("of a client that has ended its side reaches the server, while that sends", async () => {
    const { server } = await between(["read", "push"], ["end", "first", "reset"]);
    expect(["ECONNRESET", "EPIPE"]).toContain(server.how);
  });

  it("of a server that has ended its side reaches the client, while that sends", async () => {
    const { client } = await between(["end", "first", "reset"], ["read", "push"]);
    expect(["ECONNRESET", "EPIPE"]).toContain(client.how);
  });
});

describe("connections that rest", () => {
  const CONNECTIONS = 5000;
  let rested: RelayedDoor;

  // A relay of their own: its memory is not that of transfers before.
  beforeAll(async () => {
    const backend = `plain: { relay: "127.0.0.1:${(plain.address() as AddressInfo).port}" }`;
    rested = await RelayedDoor.start(
      join(folder, "rested"),
      `backends: { ${backend} }\nroutes: { plain.test: plain }`,
      ["plain"],
    );
  });
  afterAll(() => rested?.stop());

  it("cost little, 5,000 of them, and go on when the door is killed", async () => {
    serve = (socket) => {
      socket.on("error", () => {});
      socket.pipe(socket);
    };
    const { pid } = rested.relay;
    const idleSockets = openSockets(pid);
    const clients: Socket[] = [];
    let lost = 0;
    const open = async (count: number) => {
      const opened: Socket[] = [];
      for (let i = clients.length; opened.length < count; i++) {
        // Addresses over 127.1.0.0/16: their ports are their own.
        const client = await plainClient(rested.port, `127.1.${(i >> 8) & 255}.${i & 255}`);
        opened.push(client);
        clients.push(client);
      }
      await Promise.all(opened.map((client) => echoed(client, HELLO.length)));
    };
    try {
      // Its code is compiled, and its arrays are in use, when there have been some.
      await open(500);
      for (const client of clients.splice(0)) client.destroy();
      await until("the relay to have let go of these", () => openSockets(pid) === idleSockets);

      const before = { memory: proportionalBytes(pid), descriptors: openDescriptors(pid).length };
      await open(CONNECTIONS);
      for (const client of clients) client.on("close", () => lost++);
      await until("the door to have none of them", () => openSockets(rested.door.pid) < 100);
      const after = { memory: proportionalBytes(pid), descriptors: openDescriptors(pid).length };
      const bytes = (after.memory - before.memory) / CONNECTIONS;
      const descriptors = (after.descriptors - before.descriptors) / CONNECTIONS;
      console.log(
        `${CONNECTIONS} idle connections: ${bytes.toFixed(0)} bytes and ${descriptors.toFixed(3)} descriptors of the relay each; ${(after.memory / 1e6).toFixed(0)} MB in all`,
      );
      // Its two sockets; pipes are borrowed while bytes are on the way.
      expect(descriptors).toBeLessThan(2.1);
      expect(bytes).toBeLessThan(16 * 1024);

      await rested.door.kill();
      const answers = clients.map(async (client, i) => {
        const question = Buffer.from(`still there, ${i}?`);
        const answer = echoed(client, question.length);
        client.write(question);
        return (await answer).equals(question);
      });
      expect((await Promise.all(answers)).filter((isRight) => isRight)).toHaveLength(CONNECTIONS);
      expect(lost).toBe(0);
    } finally {
      for (const client of clients) client.destroy();
    }
    // The door's channel is gone too.
    await until("the relay to have let go of all", () => openSockets(pid) <= idleSockets);
  });
});

/** What a server behind the relay, and a client, said last: fixtures/endpoint.py tells what they can be told to do. */
async function between(
  server: readonly string[],
  client: readonly string[],
): Promise<Record<"server" | "client", { how: string }>> {
  const endpoint = (...args: readonly string[]) => new Child(program("python3"), [fixture, ...args]);
  const origin = endpoint("listen", String(rawPort), ...server);
  await origin.line("the origin's being ready", (line) => line.includes("ready"));
  const hello = Buffer.from(browserHello("raw.test")).toString("hex");
  const caller = endpoint("connect", String(front.port), `hex:${hello}`, ...client);
  for (const each of [caller, origin]) expect((await each.ended).status, each.stderr).toBe(0);
  await nothingIsLeft();
  const last = ({ lines }: Child) => JSON.parse(lines.at(-1) ?? "{}");
  return { server: last(origin), client: last(caller) };
}

async function tlsClient(): Promise<TLSSocket> {
  const options = { port: front.port, servername: "tls.test", ca: made.cert, allowHalfOpen: true };
  const client = tlsConnect(options);
  await once(client, "secureConnect");
  return client;
}

/** Connected, and its hello is sent. */
async function plainClient(port: number, localAddress: string): Promise<Socket> {
  const client = connect({ port, host: "127.0.0.1", localAddress });
  await once(client, "connect");
  client.write(HELLO);
  return client;
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
