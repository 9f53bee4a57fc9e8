/** The kit's end of a channel. */
import { expect, onTestFinished, test } from "vitest";
import { receive } from "../../src/backend/index.js";
import { Channel } from "../../src/conform/channel.js";
import { native } from "../../src/native/addon.js";
import { handoffBytes } from "../support/fake-door.js";
import { Folder } from "../support/folder.js";
import { TcpListener } from "../support/tcp.js";
import { standStill } from "./stand-still.js";

const folder = new Folder();

test("the time of an ACK counts from before the connection is sent, behind which the kit may not get to run", async () => {
  const path = folder.at("receiver.sock");
  const receiver = await receive({ path }, (socket) => socket.destroy());
  const tcp = new TcpListener();
  const { client, descriptor } = await tcp.pair();
  const channel = new Channel(path, 60_000, () => {});
  onTestFinished(async () => {
    channel.close();
    client.destroy();
    native.close(descriptor);
    tcp.close();
    await receiver.close();
  });
  await channel.ready();
  const send = channel.send.bind(channel);
  channel.send = (...message) => {
    const errno = send(...message);
    standStill(300);
    return errno;
  };
  const handed = channel.handWith([descriptor], (sequence) => handoffBytes({ sequence }));
  await channel.acknowledged(handed);
  expect(handed.took).toBeGreaterThan(299);
});
