/** Hellos as the network may deliver them: every one is routed by its name, and the backend gets it whole and unread. */
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ClientHelloReader } from "../../src/tls/client-hello.js";
import { Status } from "../../src/tls/outcome.js";
import { BackendProcess } from "../support/backend-process.js";
import { openSockets } from "../support/descriptors.js";
import { DoorProcess } from "../support/door-process.js";
import { exchange, immediate, inParallel } from "../support/raw-client.js";
import { until } from "../support/wait.js";
import { buildHello, messageOf, records, sslv2Hello } from "../tls/hello-builder.js";
import { type Vector, vectors } from "../tls/vectors.js";

const END = Buffer.from("END\n");

let folder: string;
let door: DoorProcess;
const backends: BackendProcess[] = [];
let idle: { door: number; backends: number[] };

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-hellos-"));
  for (const name of ["named", "nameless", "other"]) {
    backends.push(await BackendProcess.start({ kind: "raw", path: `${folder}/${name}.sock`, name }));
  }
  const names = [...new Set(vectors.map(nameOf).filter((name) => name !== ""))];
  door = await DoorProcess.start(
    folder,
    `
backends:
  named: { handoff: "${folder}/named.sock" }
  nameless: { handoff: "${folder}/nameless.sock" }
  other: { handoff: "${folder}/other.sock" }
routes:
${[...names, "split.test"].map((name) => `  "${name}": named`).join("\n")}
default: other
noServerName: nameless
`,
    { workers: 2 },
  );
  for (const name of ["named", "nameless", "other"]) await door.instances(name, 1);
  // Both workers have a channel to each.
  await until("all channels", () => door.log.filter((line) => line.event === "channel.ready").length === 6);
  idle = { door: openSockets(door.pid), backends: backends.map(({ pid }) => openSockets(pid)) };
});

afterAll(async () => {
  await until("the door's descriptors to be as before", () => openSockets(door.pid) === idle.door);
  for (const [i, { pid }] of backends.entries()) {
    await until("a backend's descriptors to be as before", () => openSockets(pid) === idle.backends[i]);
  }
  expect(await door.stop()).toMatchObject({ defect: 0, hello_invalid: 0, hello_timeout: 0, violations: 0 });
  for (const backend of backends) await backend.kill();
  rmSync(folder, { recursive: true });
});

function nameOf({ bytes }: Pick<Vector, "bytes">): string {
  const reader = new ClientHelloReader();
  expect(reader.read(bytes, 0, bytes.length)).toBe(Status.DONE);
  return Buffer.from(reader.name.subarray(0, reader.nameLength)).toString("latin1");
}

/** Sends the hello in pieces, and expects the answer of the backend that its name routes to. */
async function expectRouted(
  hello: Uint8Array,
  pieces: Iterable<Uint8Array>,
  name: string,
  pause?: () => Promise<void>,
): Promise<void> {
  const sent = Buffer.concat([hello, END]);
  const answer = JSON.parse((await exchange(door.port, [...pieces, END], pause)).toString());
  expect(answer).toMatchObject({
    name: name === "" ? "nameless" : "named",
    count: sent.length,
    sha256: createHash("sha256").update(sent).digest("hex"),
  });
  expect(answer.serverName ?? "").toBe(name);
}

function* bytewise(bytes: Uint8Array): Iterable<Uint8Array> {
  for (let i = 0; i < bytes.length; i++) yield bytes.subarray(i, i + 1);
}

describe("every captured hello", () => {
  for (const vector of vectors) {
    it(`${vector.name}: in one piece, and one byte at a time`, async () => {
      const name = nameOf(vector);
      await expectRouted(vector.bytes, [vector.bytes], name);
      await expectRouted(vector.bytes, bytewise(vector.bytes), name);
    });
  }
});

describe("a hello in two pieces, split at every position", () => {
  for (const vector of vectors) {
    it(`${vector.name} (${vector.bytes.length} bytes)`, async () => {
      const name = nameOf(vector);
      const positions = Array.from({ length: vector.bytes.length - 1 }, (_, i) => i + 1);
      await inParallel(positions, 64, (at) =>
        expectRouted(vector.bytes, [vector.bytes.subarray(0, at), vector.bytes.subarray(at)], name),
      );
    });
  }
});

describe("a hello over many records", () => {
  const message = messageOf(buildHello({ serverName: "split.test", alpn: ["h2"], totalLength: 1800 }));
  for (const size of [1, 2, 3, 7, 100, 517, 1000]) {
    it(`of ${size} bytes each`, async () => {
      const hello = records(
        message,
        Array.from({ length: Math.ceil(message.length / size) }, () => size),
      );
      await expectRouted(hello, [hello], "split.test");
      await expectRouted(hello, bytewise(hello), "split.test", immediate);
    });
  }
});

it("a hello with pauses that let the door sleep in between", async () => {
  const hello = buildHello({ serverName: "split.test", totalLength: 1800 });
  const cuts = [0, 1, 3, 5, 6, 9, 40, 300, 1799, 1800];
  const pieces = cuts.slice(1).map((end, i) => hello.subarray(cuts[i], end));
  await expectRouted(hello, pieces, "split.test", () => new Promise((resolve) => setTimeout(resolve, 30)));
});

it("an SSLv2-compatible hello is TLS without a name", async () => {
  const hello = sslv2Hello();
  await expectRouted(hello, [hello], "");
  await expectRouted(hello, bytewise(hello), "");
});

it("a name in capitals with a dot at its end is the same name", async () => {
  const hello = buildHello({ serverName: "SPLIT.Test." });
  await expectRouted(hello, [hello], "split.test");
});

it("an unknown name goes to the default, with its name", async () => {
  const hello = buildHello({ serverName: "unknown.test" });
  const answer = JSON.parse((await exchange(door.port, [hello, END])).toString());
  expect(answer).toMatchObject({ name: "other", serverName: "unknown.test" });
});

it("early data behind the hello arrives with it", async () => {
  const hello = buildHello({ serverName: "split.test" });
  const early = Buffer.alloc(3000, 0x17);
  await expectRouted(Buffer.concat([hello, early]), [Buffer.concat([hello, early])], "split.test");
});
