/** What of that which clients, backends and files say gets into logs, status, metrics and onto terminals, and in which form. */
import { mkdirSync } from "node:fs";
import { request } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadConfiguration } from "../../src/daemon/configuration/index.js";
import type { ConfigurationError } from "../../src/errors.js";
import { native } from "../../src/native/addon.js";
import { header, v2 } from "../proxy-protocol/support.js";
import { sniHandoff } from "../support/command-line.js";
import { Folder } from "../support/folder.js";
import { speak } from "../support/raw-client.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";
import { buildHello, extension } from "../tls/hello-builder.js";

/** Of the length of a random. */
const SECRET = "the-secret-of-a-client-5e1f9a0c3";
const END = Buffer.from("END\n");
const BALANCER = "127.0.0.2";
/** Ends what it is in, begins a line of its own, clears a screen, turns the direction of writing. */
const FORGED = '"}\r\n{"level":"fatal","event":"forged"}\n\x1b[2J\x1b]0;x\x07\u0085\x9b\x7f';

const folder = new Folder();
let scene: Scene;

beforeEach(() => {
  scene = new Scene();
});

afterEach(() => scene.end());

const control = () => `${scene.folder}/control.sock`;
const head = () => `accessLog: all\ncontrol: ${control()}\ntimeouts: { hello: 1s }\n`;

function ask(path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    request({ socketPath: control(), path }, async (response) => {
      let text = "";
      for await (const part of response) text += part;
      resolve(text);
    })
      .on("error", reject)
      .end();
  });
}

/** Everything that the door has said, in whichever way. */
async function everythingSaid(): Promise<string> {
  const { child } = scene.door;
  const commands = await Promise.all(
    [["status"], ["status", "--json"]].map((args) => sniHandoff([...args, "--control", control()])),
  );
  const asked = await Promise.all(["/status", "/metrics"].map(ask));
  return [...child.lines, child.stderr, ...commands.flatMap(({ stdout, stderr }) => [stdout, stderr]), ...asked].join(
    "\n",
  );
}

/** Resolves when so many connections have a line. */
const accessLines = (count: number) =>
  until("the lines", () => scene.door.log.filter(({ event }) => event === "access").length === count);

/** Lines are JSON of printable ASCII, and none of them is a client's. */
function expectWhole(lines: readonly string[]): void {
  for (const line of lines) {
    expect(line).toMatch(/^[\x20-\x7e]+$/);
    expect(JSON.parse(line).event).not.toBe("forged");
  }
}

/** In the ways in which bytes are written. */
function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const base64 = [0, 1, 2].map((by) => bytes.subarray(by, by + 24).toString("base64"));
  return [secret, bytes.toString("hex"), ...base64, bytes.subarray(0, 16).join(",")];
}

async function expectSecret(): Promise<void> {
  const said = await everythingSaid();
  for (const form of formsOf(SECRET)) expect(said).not.toContain(form);
}

const tlv = (type: number, value: string) => {
  const bytes = Buffer.from(`\0\0\0${value}`, "latin1");
  bytes[0] = type;
  bytes.writeUInt16BE(value.length, 1);
  return bytes;
};

describe("a client's secrets are told to nobody:", () => {
  it("what is in a hello beside its name and protocols, what is sent in its place, what is in a PROXY header beside addresses", async () => {
    await scene.raw("app");
    await scene.startDoor(
      `${head()}backends: { app: { handoff: "${scene.at("app")}" } }\nroutes: { app.test: app }\n`,
      { channels: 1, listener: `acceptProxyProtocol: ["${BALANCER}"]` },
    );
    const secret = { random: SECRET, sessionId: SECRET, alpn: ["h2", SECRET] };
    // pre_shared_key, cookie, encrypted_client_hello, one that nobody knows.
    const extensions = [0x2c, 0xfe0d, 0x7777, 0x29].map((type) => extension(type, Buffer.from(SECRET.repeat(3))));
    const hello = buildHello({ serverName: "app.test", ...secret, extensions });
    const data = Buffer.concat([hello, Buffer.from(SECRET), END]);
    const broken = Buffer.from(hello);
    broken[3] = 0xff;
    const source = { family: "IPv4", address: "203.0.113.7", port: 1 } as const;
    const addresses = Buffer.from("cb007107c633640711111bbb", "hex");
    // unique id, SSL with the certificate's common name, one of whoever's own.
    const ssl = Buffer.concat([Buffer.from("0700000000", "hex"), tlv(0x22, SECRET)]).toString("latin1");
    const tlvs = Buffer.concat([addresses, tlv(5, SECRET), tlv(0x20, ssl), tlv(0xe7, SECRET)]);
    const clients: [Uint8Array, string?][] = [
      [data],
      [buildHello({ serverName: "unknown.test", ...secret, extensions })],
      [buildHello({ ...secret, extensions })],
      [broken],
      [data.subarray(0, 100)],
      [Buffer.from(`GET /?${SECRET} HTTP/1.1\r\nAuthorization: Bearer ${SECRET}\r\nCookie: ${SECRET}\r\n\r\n`)],
      [Buffer.from(SECRET)],
      [Buffer.concat([v2(0x21, 0x11, tlvs), data]), BALANCER],
      [Buffer.concat([v2(0x21, 0x11, tlvs.subarray(0, -1)), data]), BALANCER],
      [Buffer.concat([header(1, { source, destination: source }), Buffer.from(SECRET)]), BALANCER],
      [Buffer.from(`PROXY TCP4 ${SECRET} 198.51.100.7 1 2\r\n`), BALANCER],
    ];
    for (const [bytes, from] of clients) await (await scene.client(bytes, from)).reply;
    await accessLines(clients.length);
    await expectSecret();
    await scene.counters();
  });

  it("what is in a request beside its host", async () => {
    await scene.raw("app");
    await scene.startDoor(
      `${head()}backends: { app: { handoff: "${scene.at("app")}" } }\nhttp: { routes: { app.test: app }, redirect: https }\n`,
      { channels: 1, listener: "protocol: http" },
    );
    const rest = `Authorization: Basic ${SECRET}\r\nCookie: id=${SECRET}\r\nReferer: http://x/${SECRET}\r\n`;
    const requests = [
      `POST /${SECRET}?${SECRET} HTTP/1.1\r\nHost: app.test\r\n${rest}\r\n${SECRET}END\n`,
      `GET /${SECRET}?${SECRET} HTTP/1.1\r\nHost: other.test\r\n${rest}\r\n`,
      `GET /${SECRET} HTTP/1.1\r\n${rest}\r\n`,
      `GET /${SECRET} HTTP/1.1\r\nHost: app.test\r\n${rest}bad ${SECRET}: x\r\n\r\n`,
      `${SECRET} ${SECRET} ${SECRET}\r\n\r\n`,
      `GET /${SECRET} HTTP/1.1\r\nHost: app.test\r\n${rest}`,
    ];
    for (const text of requests) await speak(scene.door.port, Buffer.from(text));
    await accessLines(requests.length);
    await expectSecret();
    await scene.counters();
  });
});

describe("a line of the log is one, whatever is put into it:", () => {
  const latin1 = (text: string) => Buffer.from(text, "latin1");

  it("names, protocols, PROXY headers", async () => {
    await scene.startDoor(`${head()}backends: {}\n`, { listener: `acceptProxyProtocol: ["${BALANCER}"]` });
    const clients: [Uint8Array, string?][] = [
      [buildHello({ serverName: FORGED })],
      [buildHello({ serverName: "a.test", alpn: [FORGED] })],
      [buildHello({ serverName: [{ name: "a.test" }, { name: FORGED }] })],
      [latin1(FORGED)],
      [latin1(`PROXY TCP4 ${FORGED} 1 2\r\n`), BALANCER],
      [latin1(`PROXY UNKNOWN ${FORGED.replaceAll("\r\n", "")}`), BALANCER],
      [
        Buffer.concat([v2(0x21, 0x31, Buffer.alloc(216, latin1(FORGED))), buildHello({ serverName: "b.test" })]),
        BALANCER,
      ],
      [Buffer.concat([v2(0x20, 0, tlv(2, FORGED)), buildHello({ serverName: "c.test" })]), BALANCER],
    ];
    for (const [bytes, from] of clients) await (await scene.client(bytes, from)).reply;
    await accessLines(clients.length);
    expectWhole(scene.door.child.lines);
    await scene.counters();
  });

  it("hosts and paths of requests, those that the door answers too", async () => {
    await scene.startDoor(`${head()}backends: {}\nhttp: { redirect: https }\n`, { listener: "protocol: http" });
    const requests = [
      `GET / HTTP/1.1\r\nHost: ${FORGED}\r\n\r\n`,
      `GET /${FORGED} HTTP/1.1\r\nHost: a.test\r\n\r\n`,
      `GET http://${FORGED}/ HTTP/1.1\r\nHost: a.test\r\n\r\n`,
      `GET /%0d%0a%0d%0aX HTTP/1.1\r\nHost: b.test\r\n\r\n`,
    ];
    const replies = await Promise.all(requests.map((text) => speak(scene.door.port, latin1(text))));
    for (const { received } of replies) {
      // Response splitting: one head, and nothing behind it.
      const text = received.toString("latin1");
      if (text !== "") expect(text).toMatch(/^HTTP\/1\.1 \d+ [^\r\n]*\r\n(?:[\w-]+: [\x20-\x7e]*\r\n)+\r\n$/);
    }
    await accessLines(requests.length);
    expectWhole(scene.door.child.lines);
    await scene.counters();
  });

  it("paths of sockets that a backend's user made, which `status` shows", async () => {
    const pool = `${scene.folder}/pool`;
    mkdirSync(pool);
    const name = 'a\n{"event":"forged"}\r\x1b[2J\u202e\u2028.sock';
    const listener = native.listenUnix(`${pool}/${name}`, "stream", { backlog: 1 });
    const gone = native.listenUnix(`${pool}/gone\n\x1b[2J`, "seqpacket", { backlog: 1 });
    native.close(gone);
    const door = await scene.startDoor(
      `${head()}backends: { app: { handoff: "${pool}/" } }\nroutes: { app.test: app }\n`,
    );
    await until("both to be told", () => door.log.filter(({ event }) => event === "instance.unreachable").length >= 2);
    expectWhole(door.child.lines);
    for (const args of [["status"], ["explain", "app.test", "--config", door.file]]) {
      const { stdout, stderr } = await sniHandoff([...args, "--control", control()]);
      expect(stdout).toContain(".sock");
      expect(`${stdout}${stderr}`).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2028]|^\{"event"/m);
    }
    native.close(listener);
    await scene.door.stop();
  });
});

describe("names that clients send", () => {
  it("are labels of no metric", async () => {
    await scene.startDoor(`${head()}backends: {}\n`);
    for (let i = 0; i < 50; i++)
      await speak(scene.door.port, buildHello({ serverName: `x${i}.example.test`, alpn: [`y${i}`] }));
    await accessLines(50);
    expect(await ask("/metrics")).not.toMatch(/example\.test|"y\d+"/);
    await scene.counters();
  });
});

describe("what is wrong with a file is said on one line, whatever is in the file:", () => {
  const escaped = JSON.stringify(`${FORGED}\u202e\u2028`);
  const files: Record<string, string> = {
    "a key": `${escaped}: 1\n`,
    "a key within": `backends: { app: { ${escaped}: 1 } }\n`,
    "a value": `workers: ${escaped}\n`,
    "a backend's name": `backends: { ${escaped}: { handoff: 5 } }\n`,
    "a route's name": `backends: {}\nroutes: { ${escaped}: app }\n`,
    "a route's backend": `backends: {}\nroutes: { app.test: ${escaped} }\n`,
    "a path": `backends: { app: { handoff: ${escaped}, hold: 1 } }\n`,
    "a pattern": `backends: {}\npatterns: [{ match: ${escaped}, backend: app }]\n`,
    "an included file": `include: [${escaped}]\nbackends: {}\n`,
    "a map": `backends: {}\nmaps: [tenants.map]\n`,
    "YAML that is none": `"\x1b[2J\u0085\u202e": [\n`,
    "a user": `backends: {}\nuser: ${escaped}\n`,
  };

  /** What no line may have. */
  const hidden = /[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/;

  it.each(Object.entries(files))("%s", async (_, text) => {
    folder.write("tenants.map", `app.test ${FORGED}\n${FORGED}\n`);
    const file = folder.write("door.yaml", `listeners: [{ address: "127.0.0.1:0" }]\n${text}`);
    const error: ConfigurationError = await loadConfiguration(file).then(
      () => expect.fail("it is right"),
      (thrown) => thrown,
    );
    const lines = error.message.split("\n");
    expect(lines).toHaveLength(error.problems.length);
    for (const line of lines) {
      expect(line).toMatch(/^\/[^:]+:\d+:\d+: /);
      expect(line).not.toMatch(hidden);
    }
  });

  it("on standard error, too, of a path that it names", async () => {
    const path = JSON.stringify(folder.at("absent\x1b[2J\u202e/control.sock"));
    const file = folder.write("door.yaml", `listeners: [{ address: "127.0.0.1:0" }]\ncontrol: ${path}\nbackends: {}\n`);
    const { status, stderr } = await sniHandoff(["serve", "--config", file]);
    expect(status).toBe(1);
    expect(stderr).toContain("absent\\x1b[2J\\u202e");
    expect(stderr.trimEnd()).not.toMatch(hidden);
  });
});
