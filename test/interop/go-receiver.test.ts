/** examples/go: its HTTPS server behind the front door, and its own tests. */
import { execFile } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { beforeAll, expect, it } from "vitest";
import { Child } from "../support/child.js";
import { program } from "../support/programs.js";
import { Scene } from "../support/scene.js";
import { buildGo, buildGoFixture, testGo } from "./support/go-build.js";
import { Pebble } from "./support/pebble.js";
import { type ReceiverProgram, receiverTrials, speaksHttp2 } from "./support/receiver-trials.js";

let binary: string;
beforeAll(() => {
  binary = buildGo("https");
});

it("passes its own tests", () => testGo());

const receiver: ReceiverProgram = { name: "go", command: ({ socket, cert, key }) => [binary, socket, cert, key] };
receiverTrials(receiver);

it("speaks HTTP/2", () => speaksHttp2(receiver));

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
