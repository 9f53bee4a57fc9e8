/** Several processes that listen on one path with SO_REUSEPORT: each has a queue, and a channel's ACK takes all before it. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { ADDRESS_BYTES, writeAddress } from "../../src/addresses.js";
import { MessageType } from "../../src/handoff/layout.js";
import { native } from "../../src/native/addon.js";
import { openDescriptors, openSockets } from "../support/descriptors.js";
import { FakeDoor } from "../support/fake-door.js";
import { Folder } from "../support/folder.js";
import { TcpListener } from "../support/tcp.js";
import { until } from "../support/wait.js";
import { compileServer, Server, UNREAD_FOR_SURE } from "./server.js";

const folder = new Folder();
let program: string;
let tcp: TcpListener;
let number = 0;
const servers: Server[] = [];
const doors: FakeDoor[] = [];
const path = () => folder.at(`${number}.sock`);

beforeAll(() => {
  program = compileServer(folder);
  tcp = new TcpListener();
});
afterAll(() => tcp.close());
afterEach(endAll);

async function endAll(): Promise<void> {
  for (const door of doors.splice(0)) door.close();
  await Promise.all(servers.splice(0).map((server) => server.kill()));
  number++;
}

async function serve(args: readonly string[], address = "0.0.0.0:443"): Promise<Server> {
  const server = new Server(program, path(), args, { SNI_HANDOFF: `${address}=${path()}` });
  servers.push(server);
  await server.serving();
  return server;
}

async function door(): Promise<FakeDoor> {
  const opened = await FakeDoor.open(path());
  doors.push(opened);
  return opened;
}

it("what a killed one has not accepted is the door's again, though the other one accepts", async () => {
  let opened: FakeDoor;
  let pairs: Awaited<ReturnType<TcpListener["pair"]>>[] = [];
  let took: number;
  do {
    await endAll();
    for (const { client, descriptor } of pairs) {
      client.destroy();
      native.close(descriptor);
    }
    const slow = await serve(["-r", "-a", "60000", "0.0.0.0:443"]);
    await serve(["-r", "0.0.0.0:443"]);
    opened = await door();
    pairs = [await tcp.pair(), await tcp.pair()];
    const begun = performance.now();
    for (const { descriptor } of pairs) opened.handOver(descriptor);
    // Time for the other one to acknowledge the second, and with it the first.
    await new Promise((resolve) => setTimeout(resolve, 40));
    await slow.die();
    took = performance.now() - begun;
  } while (took > UNREAD_FOR_SURE);
  await until("the channel's end", () => opened.ended);
  expect(opened.received.filter(({ type }) => type === MessageType.ACK)).toEqual([]);
  // As the door does with what is not acknowledged.
  const again = await door();
  for (const { client, descriptor } of pairs) {
    const answered = once(client, "data");
    await again.acknowledged(again.handOver(descriptor));
    native.close(descriptor);
    await answered;
    client.destroy();
  }
});

it("one that is busy for long shares what comes with the other", async () => {
  await serve(["-r", "-a", "60000", "0.0.0.0:443"]);
  await serve(["-r", "0.0.0.0:443"]);
  const opened = await door();
  const answered: number[] = [];
  for (let i = 0; answered.length < 2; i++) {
    expect(i).toBeLessThan(100);
    const { client, descriptor } = await tcp.pair();
    client.once("data", () => answered.push(i));
    await opened.acknowledged(opened.handOver(descriptor));
    native.close(descriptor);
    client.on("close", () => client.destroy());
  }
});

it("a full queue of one family does not keep the helper busy", async () => {
  const server = await serve(["-a", "60000", "0.0.0.0:443", "[::]:443"], "443");
  const opened = await door();
  const { client, descriptor } = await tcp.pair();
  const v4 = new Uint8Array(ADDRESS_BYTES);
  writeAddress({ family: "IPv4", address: "192.0.2.1", port: 12345 }, v4, 0);
  // Until the helper reads no more of them.
  const fill = () => {
    try {
      for (;;) opened.handOver(descriptor, { consumed: 28, client: v4, server: v4 });
    } catch {
      opened.nextSequence--;
    }
  };
  for (let i = 0; i < 20; i++) {
    fill();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const helper = await server.helper("helper");
  await until("a second without work", async () => {
    const before = ticks(helper);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    return ticks(helper) - before < 5;
  });
  native.close(descriptor);
  client.destroy();
});

it("a record without bytes leaves none of its descriptors in the helper", async () => {
  const server = await serve(["0.0.0.0:443"]);
  const helper = await server.helper("helper");
  await door(); // from then on it has all that it needs
  const before = openDescriptors(helper).length;
  const { client, descriptor } = await tcp.pair();
  for (let i = 0; i < 5; i++) {
    const opened = await door();
    opened.send(new Uint8Array(0), [descriptor, descriptor]);
    await opened.end();
  }
  await until("as many as before", () => openDescriptors(helper).length === before);
  native.close(descriptor);
  client.destroy();
});

it("the keeper has the listening sockets, and none of the doors' channels", async () => {
  const first = await serve(["-r", "0.0.0.0:443"]);
  const before = await first.helper("keeper");
  await serve(["-r", "0.0.0.0:443"]);
  const second = await until("its successor", async () => {
    const keeper = await first.helper("keeper");
    return keeper !== before && keeper;
  });
  const helper = await first.helper("helper");
  await first.child.end("SIGKILL");
  await until("nothing but the path's and the second's", () => openSockets(helper) === 2);
  await door(); // gets the number that the first one's had
  await serve(["-r", "0.0.0.0:443"]);
  const third = await until("the next successor", async () => {
    const keeper = await first.helper("keeper");
    return keeper !== second && keeper;
  });
  // The path's, and a pair's for each of the two.
  await until("the path's and the pairs'", () => openSockets(third) === 3);
});

/** Processor time in clock ticks (proc(5)): user and system. */
function ticks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1")
    .replace(/^.*\) /, "")
    .split(" ");
  return Number(fields[11]) + Number(fields[12]);
}
