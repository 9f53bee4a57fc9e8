/** examples/go: its HTTPS server behind the front door, and its own tests. */
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { beforeAll, expect, it } from "vitest";
import { certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { program } from "../support/programs.js";
import { Scene } from "../support/scene.js";
import { buildGo, testGo } from "./support/go-build.js";
import { receiverTrials } from "./support/receiver-trials.js";

let binary: string;
beforeAll(() => {
  binary = buildGo("https");
});

it("passes its own tests", () => testGo());

receiverTrials({ name: "go", command: ({ socket, cert, key }) => [binary, socket, cert, key] });

it("speaks HTTP/2", async () => {
  const scene = new Scene();
  const { cert, key } = await certificate("app.test");
  const files = { cert: `${scene.folder}/cert.pem`, key: `${scene.folder}/key.pem` };
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key);
  const server = new Child(binary, [scene.at("app"), files.cert, files.key]);
  try {
    await server.line("the server to listen", (line) => line === `listening on ${scene.at("app")}`);
    await scene.startDoor(`backends: { app: { handoff: "${scene.at("app")}" } }\ndefault: app\n`, { channels: 1 });
    const { stdout } = await promisify(execFile)(program("h2load"), [
      ...["-n", "2000", "-c", "20", "-m", "10", "--connect-to", `127.0.0.1:${scene.door.port}`],
      "https://app.test/",
    ]);
    expect(stdout).toContain("Application protocol: h2");
    expect(stdout).toContain("2000 succeeded, 0 failed, 0 errored, 0 timeout");
    expect(await scene.counters()).toMatchObject({ accepted: 20, acknowledged: 20, defect: 0 });
    expect(await server.end("SIGTERM")).toEqual({ status: 0, signal: null });
  } finally {
    await server.end("SIGKILL");
    await scene.end();
  }
});
