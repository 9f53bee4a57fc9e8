/** How the kit waits. */
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { eventually } from "../../src/conform/wait.js";
import { Folder } from "../support/folder.js";
import { standStill } from "./stand-still.js";

const folder = new Folder();

test("what came while the kit stood still came in time", async () => {
  const path = folder.at("receiver.sock");
  const server = createServer((socket) => socket.on("error", () => {}).end("here")).listen(path);
  await once(server, "listening");
  onTestFinished(() => void server.close());
  let said = "";
  connect(path)
    .on("error", () => {})
    .setEncoding("utf8")
    .on("data", (data) => {
      said += data;
    });
  let looks = 0;
  const what = () => {
    if (looks++ === 0) standStill(400);
    return said;
  };
  expect(await eventually(() => what() === "here" && said, 200)).toBe("here");
});

test("what does not come is waited for as long as that", async () => {
  const begun = performance.now();
  expect(await eventually(() => undefined, 200)).toBeUndefined();
  expect(performance.now() - begun).toBeGreaterThan(199);
});
