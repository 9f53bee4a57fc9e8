import { writeFileSync } from "node:fs";
import { beforeAll, expect, it } from "vitest";
import { certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { Scene } from "../support/scene.js";
import { type ReceiverProgram, receiverTrials, speaksHttp2 } from "./support/receiver-trials.js";
import { buildRust } from "./support/rust-build.js";

let binary: string;

// The first time, with all that it depends on.
beforeAll(async () => {
  binary = await buildRust();
}, 900_000);

const receiver: ReceiverProgram = {
  name: "examples/rust",
  command: ({ socket, cert, key }) => [binary, socket, cert, key],
};
receiverTrials(receiver);

it("speaks HTTP/2", () => speaksHttp2(receiver));

it("a second one says who has the path", async () => {
  const scene = new Scene();
  const { cert, key } = await certificate("app.test");
  writeFileSync(`${scene.folder}/cert.pem`, cert);
  writeFileSync(`${scene.folder}/key.pem`, key);
  const args = [scene.at("app"), `${scene.folder}/cert.pem`, `${scene.folder}/key.pem`];
  const first = new Child(binary, args);
  try {
    await first.line("the server's listening", (line) => line.startsWith("listening on "));
    const second = new Child(binary, args);
    expect((await second.ended).status).toBe(1);
    expect(second.stderr).toContain(
      `${scene.at("app")} is in use by process ${first.pid} of user ${process.getuid!()}`,
    );
  } finally {
    expect(await first.end("SIGTERM")).toEqual({ status: 0, signal: null });
    await scene.end();
  }
});
