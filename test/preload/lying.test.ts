/** A process of the server that was taken over, and its helper, which may run as another user. */
import { once } from "node:events";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { native } from "../../src/native/addon.js";
import { openDescriptors } from "../support/descriptors.js";
import { FakeDoor } from "../support/fake-door.js";
import { Folder } from "../support/folder.js";
import { TcpListener } from "../support/tcp.js";
import { until } from "../support/wait.js";
import { compileServer, Server } from "./server.js";

const folder = new Folder();
let program: string;
let tcp: TcpListener;
let server: Server;

beforeAll(() => {
  program = compileServer(folder, "lying-server");
  tcp = new TcpListener();
});
afterEach(() => server.kill());
afterAll(() => tcp.close());

it("what no library sends comes back to no process, leaves no descriptors, and the next client is served", async () => {
  const path = folder.at("door.sock");
  server = new Server(program, path, ["0.0.0.0:443"], { SNI_HANDOFF: `443=${path}` }, "pipe");
  await server.child.line("listening", (line) => line.includes("listening"));
  const helper = await server.helper("helper");
  const door = await FakeDoor.open(path); // from then on it has all that it needs
  const before = openDescriptors(helper).length;
  server.child.process.stdin!.end("\n");
  const answers = await server.child.line("what came back", (line) => line.includes("answers") && line);
  expect(JSON.parse(answers)).toEqual({ answers: 0, longest: 0 });
  await until("the helper's descriptors of before", () => openDescriptors(helper).length === before);

  const { client, descriptor } = await tcp.pair();
  let text = "";
  client.on("data", (data) => {
    text += data;
  });
  await door.acknowledged(door.handOver(descriptor));
  native.close(descriptor);
  await once(client, "close");
  expect(text).toBe("ok");
  door.close();
});
