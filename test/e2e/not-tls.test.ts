/** Clients that do not speak TLS: by what they begin with, they find a backend that speaks as they do. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { createServer as createHttp2Server } from "node:http2";
import type { Server } from "node:net";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { attach, handoffInfo } from "../../src/backend/index.js";
import type { Receiver } from "../../src/handoff/receiver.js";
import { header } from "../proxy-protocol/support.js";
import { program } from "../support/programs.js";
import { type RawClient, speak } from "../support/raw-client.js";
import { Scene } from "../support/scene.js";
import { buildHello } from "../tls/hello-builder.js";

const run = promisify(execFile);
const END = Buffer.from("END\n");
let scene: Scene;
const receivers: Receiver[] = [];

beforeEach(() => {
  scene = new Scene();
});

afterEach(async () => {
  for (const receiver of receivers.splice(0)) await receiver.close({ timeout: 1000 });
  await scene.end();
});

const configuration = (more = "") => `timeouts: { hello: 60s }
accessLog: all
backends:
  web: { handoff: "${scene.at("web")}" }
  ssh: { handoff: "${scene.at("ssh")}" }
  binary: { handoff: "${scene.at("binary")}" }
  rest: { handoff: "${scene.at("rest")}" }
notTls:
  - { starts: http, backend: web }
  - { starts: ssh, backend: ssh }
  - { starts: '\\x00\\xffA\\r\\n', backend: binary }
${more}`;

/** What comes to who is closed without a word. */
const closed = { received: Buffer.alloc(0), end: "FIN" };

const withRest = "  - { backend: rest }\n";

async function attached(server: Server, name: string): Promise<void> {
  receivers.push(await attach(server, { path: scene.at(name) }));
}

async function answeredBy(client: RawClient): Promise<string> {
  const { received } = await client.reply;
  return JSON.parse(received.toString()).name;
}

describe("by their first bytes", () => {
  it("curl finds an HTTP server on the port for TLS, with HTTP/1.1 and HTTP/2 alike", async () => {
    const seen: unknown[] = [];
    const answer = (request: { url?: string | undefined; httpVersion: string }) =>
      `${request.httpVersion} ${request.url}\n`;
    const web = createServer((request, response) => {
      seen.push(handoffInfo(request));
      response.end(answer(request));
    });
    await attached(web, "web");
    const door = await scene.startDoor(configuration(withRest), { channels: 1 });
    const curl = async (...more: string[]) =>
      (await run(program("curl"), ["-sS", "--noproxy", "*", ...more, `http://127.0.0.1:${door.port}/a`])).stdout;
    expect(await curl()).toBe("1.1 /a\n");
    expect(seen).toEqual([expect.objectContaining({ tls: false })]);
    expect(await curl("-X", "PROPFIND")).toBe("1.1 /a\n");
    await receivers.pop()!.close();
    const web2 = createHttp2Server((request, response) => response.end(answer(request)));
    await attached(web2, "web");
    expect(await curl("--http2-prior-knowledge")).toBe("2.0 /a\n");
  });

  it.each([
    ["SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "ssh"],
    ["\x00\xffA\r\n", "binary"],
    ["CONNECT example.com:443 HTTP/1.1\r\n\r\n", "web"],
    ["EHLO example.com\r\n", "rest"],
    ["\x00\xffB\r\n", "rest"],
  ])("%j goes to %s, not a byte missing, however it comes", async (phrase, name) => {
    for (const each of ["web", "ssh", "binary", "rest"]) await scene.raw(each);
    await scene.startDoor(configuration(withRest), { channels: 4 });
    const sent = Buffer.concat([Buffer.from(phrase, "latin1"), END]);
    const sha256 = createHash("sha256").update(sent).digest("hex");
    const whole = await scene.client(sent);
    const { received } = await whole.reply;
    expect(JSON.parse(received.toString())).toMatchObject({ name, count: sent.length, sha256 });

    const slow = await scene.client();
    for (const byte of sent) {
      slow.send(Uint8Array.of(byte));
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    expect(JSON.parse((await slow.reply).received.toString())).toMatchObject({ name, count: sent.length, sha256 });
    expect(await scene.counters()).toMatchObject({ acknowledged: 2, not_tls: 0, defect: 0 });
  });

  it("whom no rule takes is closed", async () => {
    await scene.raw("web");
    const door = await scene.startDoor(configuration(), { channels: 1 });
    expect(await speak(door.port, Buffer.from("EHLO example.com\r\n"))).toEqual(closed);
    // It has said all that it will: nothing is waited for.
    const ended = await scene.client(Buffer.from("SS"));
    ended.finish();
    expect(await ended.reply).toEqual(closed);
    expect(await scene.counters()).toMatchObject({ not_tls: 2, hello_timeout: 0 });
  });

  it("who says nothing that decides it is closed at the deadline", async () => {
    const door = await scene.startDoor(configuration().replace("hello: 60s", "hello: 2s"));
    const begun = performance.now();
    expect(await speak(door.port, Buffer.from("GE"))).toEqual(closed);
    expect(performance.now() - begun).toBeGreaterThan(1500);
    expect(await scene.counters()).toMatchObject({ not_tls: 0, hello_timeout: 1 });
  });

  it("who has ended goes to the rest, if there is one", async () => {
    await scene.raw("rest");
    await scene.startDoor(configuration(withRest), { channels: 1 });
    const client = await scene.client(Buffer.from("SS"));
    client.finish();
    await client.reply;
    expect(await scene.counters()).toMatchObject({ acknowledged: 1, not_tls: 0 });
  });

  it("is told no alert when its backend is not there", async () => {
    await scene.startDoor(configuration().replaceAll("handoff:", "hold: 100ms, handoff:"));
    const { received, end } = await speak(scene.door.port, Buffer.from("GET / HTTP/1.1\r\n\r\n"));
    expect([received.length, end]).toEqual([0, "FIN"]);
    expect(await scene.counters()).toMatchObject({ hold_timeout: 1 });
  });

  it("TLS is TLS, and a PROXY header before it none of anybody's business but the balancer's", async () => {
    await scene.raw("web");
    await scene.raw("rest");
    const door = await scene.startDoor(`${configuration(withRest)}default: web\n`, { channels: 2 });
    const hello = Buffer.concat([buildHello({ serverName: "app.test" }), END]);
    expect(await answeredBy(await scene.client(hello))).toBe("web");
    const source = { family: "IPv4", address: "192.0.2.1", port: 1 } as const;
    const told = Buffer.concat([header(1, { source, destination: source }), hello]);
    expect(await answeredBy(await scene.client(told))).toBe("rest");
    expect(door.running).toBe(true);
  });

  it("behind a PROXY header too, and through an upgrade in the middle of the first bytes", async () => {
    await scene.raw("ssh");
    const door = await scene.startDoor(configuration().replaceAll("handoff:", "hold: 60s, handoff:"), {
      channels: 1,
      listener: "acceptProxyProtocol: [127.0.0.2]",
      workers: 1,
    });
    const source = { family: "IPv4", address: "192.0.2.1", port: 1 } as const;
    const balanced = await scene.client(header(2, { source, destination: source }), "127.0.0.2");
    balanced.send(Buffer.from("SS"));
    const plain = await scene.client(Buffer.from("SS"));
    const held = await scene.client(Buffer.from("GET / HTTP/1.1\r\n\r\nEND\n"));
    await scene.doorHas(3);
    expect(await door.upgrade()).toMatchObject({ event: "upgraded", counters: { passed_on: 3 } });
    await scene.raw("web");
    expect(await answeredBy(held)).toBe("web");
    for (const client of [balanced, plain]) client.send(Buffer.from("H-2.0-x\r\nEND\n"));
    const { received } = await balanced.reply;
    expect(JSON.parse(received.toString())).toMatchObject({ name: "ssh", client: "192.0.2.1 1", count: 15 });
    expect(await answeredBy(plain)).toBe("ssh");
  });
});
