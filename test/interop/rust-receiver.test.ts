/** examples/rust: the tokio listener, under axum over rustls. */
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { beforeAll, expect, it } from "vitest";
import { certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { program } from "../support/programs.js";
import { Scene } from "../support/scene.js";
import { receiverTrials } from "./support/receiver-trials.js";
import { buildRust } from "./support/rust-build.js";

let binary: string;

// The first time, with all that it depends on.
beforeAll(async () => {
  binary = await buildRust();
}, 900_000);

receiverTrials({ name: "examples/rust", command: ({ socket, cert, key }) => [binary, socket, cert, key] });

it("speaks HTTP/2", async () => {
  const scene = new Scene();
  try {
    const { cert, key } = await certificate("app.test");
    writeFileSync(`${scene.folder}/cert.pem`, cert);
    writeFileSync(`${scene.folder}/key.pem`, key);
    const args = [scene.at("app"), `${scene.folder}/cert.pem`, `${scene.folder}/key.pem`];
    const server = new Child(binary, args);
    await server.line("the server's listening", (line) => line === `listening on ${scene.at("app")}`);
    await scene.startDoor(`backends: { app: { handoff: "${scene.at("app")}" } }\nroutes: { app.test: app }\n`, {
      channels: 1,
    });
    const { stdout } = await promisify(execFile)(program("h2load"), [
      ...["-n", "2000", "-c", "20", "-m", "10", "--connect-to", `127.0.0.1:${scene.door.port}`],
      "https://app.test/",
    ]);
    expect(stdout).toContain("Application protocol: h2");
    expect(stdout).toContain("2000 succeeded, 0 failed, 0 errored, 0 timeout");
    expect(await scene.counters()).toMatchObject({ accepted: 20, acknowledged: 20, defect: 0 });
    expect(await server.end("SIGTERM")).toEqual({ status: 0, signal: null });
  } finally {
    await scene.end();
  }
});

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
