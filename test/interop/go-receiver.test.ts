/** examples/go: its HTTPS server behind the front door, and its own tests. */
import { execFile } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { beforeAll, expect, it } from "vitest";
import { certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { program } from "../support/programs.js";
import { Scene } from "../support/scene.js";
import { buildGo, buildGoFixture, testGo } from "./support/go-build.js";
import { Pebble } from "./support/pebble.js";
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

it("gets its certificate by autocert, through the door", async () => {
  const scene = new Scene();
  const fixture = buildGoFixture("autocert");
  const cache = `${scene.folder}/cache`;
  let pebble: Pebble | undefined;
  let server: Child | undefined;
  try {
    await scene.startDoor(`backends: { app: { handoff: "${scene.at("app")}" } }\nroutes: { app.test: app }\n`);
    const { port } = scene.door;
    pebble = await Pebble.start(scene.folder, { http: 1, tls: port });
    server = new Child(fixture, [scene.at("app"), "app.test", pebble.directory, pebble.certificateFile, cache]);
    await server.line("the server to listen", (line) => line.startsWith("listening on "));
    const root = `${scene.folder}/root.pem`;
    writeFileSync(root, await pebble.root());
    // The first client waits for the certificate, for which Pebble comes to the door as a client.
    const { stdout } = await promisify(execFile)(program("curl"), [
      ...["--silent", "--show-error", "--max-time", "60", "--cacert", root],
      ...[
        "--resolve",
        `app.test:${port}:127.0.0.1`,
        "--write-out",
        "%{local_ip}:%{local_port}",
        `https://app.test:${port}/`,
      ],
    ]).catch((error) => {
      throw new Error(`${error.message}\n${server?.stderr}\n${pebble?.said}`);
    });
    const [told, client] = stdout.split("\n");
    expect(told).toBe(`hello from autocert: ${client}`);
    expect(readdirSync(cache)).toContain("app.test");
  } finally {
    await server?.end("SIGKILL");
    await pebble?.end();
    await scene.end();
  }
});
