/** Listeners without TLS: requests go by their host, unread, or the door answers them itself. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { Agent, createServer, request } from "node:http";
import { attach, guard, handoffInfo } from "sni-handoff/backend";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { CounterName } from "../../src/door/counters.js";
import { HEAD_FAULTS, type HeadFault } from "../../src/http/outcome.js";
import { header } from "../proxy-protocol/support.js";
import { certificate } from "../support/certificates.js";
import { sniHandoff } from "../support/command-line.js";
import { program } from "../support/programs.js";
import { exchange, type RawClient, type Reply, speak } from "../support/raw-client.js";
import { Scene } from "../support/scene.js";

const END = "END\n";
const get = (host: string, target = "/") => `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nUser-Agent: a test\r\n\r\n`;
const bytesOf = (text: string) => Buffer.from(text, "latin1");

/** A response of the door's: the whole of it, and the end of the connection in order. */
const answered = (status: string, location?: string) => ({
  received: expect.stringMatching(
    new RegExp(
      `^HTTP/1\\.1 ${status}\\r\\nDate: [A-Z][a-z]{2}, \\d\\d [A-Z][a-z]{2} \\d{4} \\d\\d:\\d\\d:\\d\\d GMT\\r\\n` +
        `${location === undefined ? "" : `Location: ${location.replace(/[.?+*()[\]\\|^$]/g, "\\$&")}\\r\\n`}` +
        "Content-Length: 0\\r\\nConnection: close\\r\\n\\r\\n$",
    ),
  ),
  end: "FIN",
});
const closed = { received: "", end: "FIN" };
const reset = { received: "", end: "ECONNRESET" };
const texts = ({ received, end }: Reply) => ({ received: received.toString("latin1"), end });
const say = async (text: string) => texts(await speak(scene.door.port, bytesOf(text)));

/** Counters that tell why a client was not served; those that are not expected must be 0. */
const reasons: readonly CounterName[] = [
  "client_gone",
  "hello_timeout",
  "hello_invalid",
  "http_invalid",
  "redirected",
  "not_tls",
  "no_route",
  "rejected",
  "hold_timeout",
  "hold_full",
  "fallback",
  "abandoned",
  "lost_after_read",
  "defect",
];
async function expectCounted(counts: Partial<Record<CounterName, number>>): Promise<void> {
  const none = Object.fromEntries(reasons.map((reason) => [reason, 0]));
  expect(await scene.counters()).toMatchObject({ ...none, ...counts });
}

/** What the "raw" backend that serves it says. */
async function seen(client: RawClient): Promise<{ name: string; serverName?: string; sha256: string }> {
  return JSON.parse((await client.reply).received.toString());
}
const asking = async (text: string) => seen(await scene.client(bytesOf(text + END)));
const sha256 = (text: string) => createHash("sha256").update(bytesOf(text)).digest("hex");

let scene: Scene;
const http = { listener: "protocol: http" };
/** For clients that begin, and go on when something else has been done. */
const PATIENT = "timeouts: { hello: 60s }\n";
const handoffs = (...names: string[]) =>
  `backends:\n${names.map((name) => `  ${name}: { handoff: "${scene.at(name)}" }\n`).join("")}`;

describe("a request goes where its host does, and not a byte of it is missing", () => {
  beforeAll(async () => {
    scene = new Scene();
    const names = ["app", "pool", "web", "acme"];
    for (const name of names) await scene.raw(name);
    await scene.startDoor(
      `${PATIENT}${handoffs(...names)}http:
  routes: { app.test: app, "*.app.test": pool }
  default: web
  acmeChallenge: acme
`,
      { ...http, channels: 4 },
    );
  });
  afterAll(async () => {
    await expectCounted({});
    await scene.end();
  });

  const challenge = "/.well-known/acme-challenge/x-Y_1";
  it.each<[title: string, request: string, name: string, host: string | undefined]>([
    ["an exact host", get("app.test"), "app", "app.test"],
    ["upper case, a dot and a port", get("App.Test.:8080"), "app", "app.test"],
    ["below a wildcard", get("www.app.test"), "pool", "www.app.test"],
    ["without a route", get("other.test"), "web", "other.test"],
    ["absolute-form, whatever Host says", get("other.test", "http://app.test/x"), "app", "app.test"],
    ["CONNECT", "CONNECT app.test:443 HTTP/1.1\r\nHost: app.test:443\r\n\r\n", "app", "app.test"],
    ["OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: app.test\r\n\r\n", "app", "app.test"],
    ["an address", get("192.0.2.1"), "web", undefined],
    ["an IPv6 address", get("[::1]:80"), "web", undefined],
    ["HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", "web", undefined],
    ["HTTP/2 with prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "web", undefined],
    ["a challenge for a host with a route", get("app.test", challenge), "acme", "app.test"],
    ["a challenge for any host", get("new.test", challenge), "acme", "new.test"],
    ["a challenge in absolute-form", get("new.test", `http://new.test${challenge}`), "acme", "new.test"],
    ["the folder of challenges without a slash", get("app.test", challenge.slice(0, 27)), "app", "app.test"],
    ["a path that only contains it", get("app.test", `/x${challenge}`), "app", "app.test"],
    ["a body behind the head", `${get("app.test").replace("GET", "POST")}${"x".repeat(100_000)}`, "app", "app.test"],
  ])("%s", async (_title, request, name, host) => {
    const { serverName, ...rest } = await asking(request);
    expect(rest).toMatchObject({ name, sha256: sha256(request + END) });
    expect(serverName).toBe(host);
  });

  it("split at every place", async () => {
    const request = get("www.app.test") + END;
    const splits = Array.from({ length: request.length - 1 }, (_, i) => i + 1);
    const answers = await Promise.all(
      splits.map((at) =>
        exchange(scene.door.port, [bytesOf(request.slice(0, at)), bytesOf(request.slice(at))], () => pause(20)),
      ),
    );
    for (const answer of answers) {
      expect(JSON.parse(answer.toString())).toMatchObject({ name: "pool", sha256: sha256(request) });
    }
  });

  it("in single bytes", async () => {
    const request = get("app.test") + END;
    const answer = await exchange(
      scene.door.port,
      [...request].map((byte) => bytesOf(byte)),
      () => pause(1),
    );
    expect(JSON.parse(answer.toString())).toMatchObject({ name: "app", sha256: sha256(request) });
  });

  it("a head of 16 KiB", async () => {
    const padding = 16_384 - get("app.test").length;
    const request = get("app.test", `/${"p".repeat(padding)}`);
    expect(await asking(request)).toMatchObject({ name: "app", sha256: sha256(request + END) });
  });
});

const pause = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));

describe("a Node server behind a listener for HTTP", () => {
  it("serves what is kept alive, sees the client, and refuses what was for another host", async () => {
    scene = new Scene();
    const server = createServer((request, response) => {
      const info = handoffInfo(request);
      response.end(JSON.stringify([request.url, info?.serverName, info?.tls, request.socket.remotePort]));
    });
    guard(server);
    server.keepAliveTimeout = 120_000; // on a busy machine the connection may be idle for long
    const receiver = await attach(server, { path: scene.at("app") });
    try {
      await scene.startDoor(`${handoffs("app")}http: { routes: { "*.app.test": app } }\n`, { ...http, channels: 1 });
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      const ask = (host: string, path: string) =>
        new Promise<{ status: number | undefined; text: string; port: number | undefined }>((resolve, reject) => {
          const options = { agent, host: "127.0.0.1", port: scene.door.port, path, headers: { host } };
          request(options, (response) => {
            const port = response.socket.localPort;
            let text = "";
            response.setEncoding("utf8").on("data", (data) => {
              text += data;
            });
            response.on("end", () => resolve({ status: response.statusCode, text, port }));
          })
            .on("error", reject)
            .end();
        });
      const first = await ask("a.app.test", "/1");
      expect(first).toMatchObject({ status: 200, text: JSON.stringify(["/1", "a.app.test", false, first.port]) });
      expect(await ask("A.app.test:80", "/2")).toEqual({ ...first, text: first.text.replace("/1", "/2") });
      expect(await ask("b.app.test", "/3")).toMatchObject({ status: 421, port: first.port });
      agent.destroy();
      await expectCounted({ accepted: 1, acknowledged: 1 });
    } finally {
      await receiver.close();
      await scene.end();
    }
  });
});

describe("a malformed request is answered with 400", () => {
  beforeAll(async () => {
    scene = new Scene();
    await scene.startDoor("accessLog: all\nbackends: { app: { reject: close } }\nhttp: { default: app }\n", http);
  });
  afterAll(async () => {
    await expectCounted({ http_invalid: 2 * HEAD_FAULTS.length });
    await scene.end();
  });

  const malformed: Readonly<Record<HeadFault, string>> = {
    http_method: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    http_target: "GET index.html HTTP/1.1\r\nHost: a.test\r\n\r\n",
    http_version: "GET /\r\n",
    http_line_ending: "GET / HTTP/1.0\n\n",
    http_characters: "GET / HTTP/1.1\r\nHost: a.test\r\nX: \0\r\n\r\n",
    http_folded: "GET / HTTP/1.1\r\nHost: a.test\r\nX: a\r\n b\r\n\r\n",
    http_field: "GET / HTTP/1.1\r\nHost : a.test\r\n\r\n",
    http_host: get("a.test/b"),
    http_host_missing: "GET / HTTP/1.1\r\n\r\n",
    http_host_twice: "GET / HTTP/1.1\r\nHost: a.test\r\nhost: a.test\r\n\r\n",
    http_too_long: get("a.test", `/${"x".repeat(16_384)}`),
  };

  it.each(HEAD_FAULTS)("%s: whole, whatever comes behind it", async (reason) => {
    for (const request of [malformed[reason], `${malformed[reason]}${"\0".repeat(1_000_000)}`]) {
      const from = scene.door.child.lines.length;
      expect(await say(request)).toEqual(answered("400 Bad Request"));
      const line = await scene.door.event("access", () => true, from);
      expect(line).toMatchObject({ outcome: "refused", reason, protocol: "http" });
      expect(line).not.toHaveProperty("server_name");
    }
  });
});

describe("a redirect", () => {
  const moved = "308 Permanent Redirect";

  describe("to https", () => {
    beforeAll(async () => {
      scene = new Scene();
      await scene.raw("app");
      await scene.startDoor(
        `accessLog: all\n${handoffs("app")}http: { routes: { app.test: app }, redirect: https, acmeChallenge: app }\n`,
        { ...http, channels: 1 },
      );
    });
    afterAll(async () => {
      await expectCounted({ acknowledged: 2, redirected: 8, no_route: 5, http_invalid: 1 });
      await scene.end();
    });

    it("of hosts without a route, those that have one are served", async () => {
      expect(await say(get("Www.Test:80", "/a?b=%20c"))).toEqual(answered(moved, "https://www.test/a?b=%20c"));
      expect(await asking(get("app.test"))).toMatchObject({ name: "app" });
      expect(await asking(get("www.test", "/.well-known/acme-challenge/x"))).toMatchObject({ name: "app" });
    });

    it("is one line of the access log", async () => {
      await say(get("logged.test"));
      const line = await scene.door.event("access", ({ server_name }) => server_name === "logged.test");
      expect(line).toMatchObject({
        protocol: "http",
        route: "default",
        outcome: "answered",
        reason: "redirected",
        message: "logged.test: answered (redirected)",
      });
      expect(line).not.toHaveProperty("backend");
    });

    it.each([
      [
        "with a body that is still being sent",
        `POST /x HTTP/1.1\r\nHost: b.test\r\n\r\n${"x".repeat(1_000_000)}`,
        "https://b.test/x",
      ],
      ["of HEAD", get("b.test").replace("GET", "HEAD"), "https://b.test/"],
      ["of an absolute-form", get("b.test", "http://b.test:80?q"), "https://b.test/?q"],
      ["of two slashes", get("b.test", "//c.test/"), "https://b.test//c.test/"],
      ["of encoded line ends", get("b.test", "/%0d%0aX:y"), "https://b.test/%0d%0aX:y"],
      ["of the longest path", get("b.test", `/${"x".repeat(7999)}`), `https://b.test/${"x".repeat(7999)}`],
    ])("%s", async (_title, request, location) => {
      expect(await say(request)).toEqual(answered(moved, location));
    });

    it.each([
      ["a longer path", get("b.test", `/${"x".repeat(8000)}`), "414 URI Too Long"],
      ["an address", get("192.0.2.1"), "400 Bad Request"],
      ["an IPv6 address", get("[2001:db8::1]"), "400 Bad Request"],
      ["no Host", "GET / HTTP/1.0\r\n\r\n", "400 Bad Request"],
      ["no path", "CONNECT b.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n", "400 Bad Request"],
      ["HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400 Bad Request"],
    ])("is not for %s", async (_title, request, status) => {
      expect(await say(request)).toEqual(answered(status));
    });
  });

  it("is followed by curl to another port, where the service is", async () => {
    scene = new Scene();
    const app = await certificate("app.test");
    await scene.backend({ kind: "https", path: scene.at("app"), certificate: app });
    const configuration = (port: number) =>
      `${handoffs("app")}routes: { app.test: app }\nhttp: { redirect: { to: https, port: ${port} } }\n`;
    const door = await scene.startDoor(configuration(443), {
      listener: 'protocol: http }, { address: "127.0.0.1:0"',
      channels: 1,
    });
    const { listeners } = await door.event("ready");
    const [plain, secure] = (listeners as string[]).map((address) => Number(address.slice(address.indexOf(":") + 1)));
    door.write(configuration(secure!));
    expect(await door.reload()).toMatchObject({ event: "reloaded" });
    const resolve = [plain, secure].flatMap((port) => ["--resolve", `app.test:${port}:127.0.0.1`]);
    const printed = await new Promise<string>((done) => {
      execFile(
        program("curl"),
        ["-sSkL", "--noproxy", "*", ...resolve, `http://app.test:${plain}/hello?x=1`],
        (error, stdout, stderr) => done(error === null ? stdout : stderr),
      );
    });
    expect(JSON.parse(printed)).toMatchObject({ url: "/hello?x=1", serverName: "app.test" });
    await expectCounted({ accepted: 2, redirected: 1, acknowledged: 1 });
    await scene.end();
  });
});

describe("who is refused gets a response in place of an alert", () => {
  beforeEach(() => {
    scene = new Scene();
  });
  afterEach(() => scene.end());

  it("by backends that reject, and without a route", async () => {
    await scene.startDoor(
      `
backends:
  unknown: { reject: unrecognized_name }
  denied: { reject: access_denied }
  broken: { reject: internal_error }
  closed: { reject: close }
  reset: { reject: reset }
http: { routes: { unknown.test: unknown, denied.test: denied, broken.test: broken, closed.test: closed, reset.test: reset } }
`,
      http,
    );
    const body = "x".repeat(300_000);
    for (const more of ["", body]) {
      expect(await say(get("unknown.test") + more)).toEqual(answered("421 Misdirected Request"));
      expect(await say(get("denied.test") + more)).toEqual(answered("403 Forbidden"));
      expect(await say(get("broken.test") + more)).toEqual(answered("503 Service Unavailable"));
      expect(await say(get("closed.test") + more)).toEqual(closed);
      expect(await say(get("reset.test") + more)).toEqual(reset);
      expect(await say(get("other.test") + more)).toEqual(answered("421 Misdirected Request"));
      expect(await say("GET / HTTP/1.0\r\n\r\n")).toEqual(answered("421 Misdirected Request"));
    }
    await expectCounted({ rejected: 10, no_route: 4 });
  });

  it("without a section http everybody", async () => {
    await scene.startDoor("backends: { app: { reject: close } }\ndefault: app\n", http);
    expect(await say(get("app.test"))).toEqual(answered("421 Misdirected Request"));
    await expectCounted({ no_route: 1 });
  });

  const app = (settings: string, more = "") =>
    `backends:\n  app: { handoff: "${scene.at("app")}", ${settings} }\n${more}http: { default: app }\n`;

  it("since nobody takes it: held, then 503", async () => {
    await scene.startDoor(app("hold: 300ms"), http);
    const begun = performance.now();
    expect(await say(get("app.test"))).toEqual(answered("503 Service Unavailable"));
    expect(performance.now() - begun).toBeGreaterThan(300);
    await expectCounted({ held: 1, hold_timeout: 1 });
  });

  it("but not if there is a fallback, or somebody comes in time", async () => {
    await scene.raw("sorry");
    const sorry = `  sorry: { handoff: "${scene.at("sorry")}", hold: 60s }\n`;
    await scene.startDoor(app("hold: 100ms, fallback: sorry", sorry), { ...http, channels: 1 });
    expect(await asking(get("app.test"))).toMatchObject({ name: "sorry", sha256: sha256(get("app.test") + END) });
    scene.door.write(app("hold: 60s"));
    await scene.door.reload();
    const client = await scene.client(bytesOf(get("late.test") + END));
    scene.idle -= 1; // the channel
    await scene.doorHas(1);
    await scene.raw("app");
    scene.idle += 1;
    expect(await seen(client)).toMatchObject({ name: "app", serverName: "late.test" });
    await expectCounted({ fallback: 1, acknowledged: 2 });
  });
});

describe("a request that does not become whole", () => {
  beforeEach(() => {
    scene = new Scene();
  });
  afterEach(() => scene.end());
  const configuration = (more: string) => `backends: { app: { reject: close } }\nhttp: { default: app }\n${more}\n`;

  it("in time: 408 for what began, and nothing for who was silent", async () => {
    await scene.startDoor(configuration("timeouts: { hello: 1s }"), { listener: "protocol: http, deferAccept: 0" });
    const silent = await scene.client();
    const slow = await scene.client(bytesOf(get("app.test").slice(0, -1)));
    // Begun at once: the next byte may come late.
    const trickling = await scene.client(bytesOf("G"));
    let sent = 1;
    const endless = `GET /${"x".repeat(10_000)}`;
    const timer = setInterval(() => trickling.send(bytesOf(endless.charAt(sent++))), 30);
    expect(texts(await silent.reply)).toEqual(closed);
    expect(texts(await slow.reply)).toEqual(answered("408 Request Timeout"));
    expect(texts(await trickling.reply)).toEqual(answered("408 Request Timeout"));
    clearInterval(timer);
    for (const client of [silent, slow, trickling]) client.close();
    await expectCounted({ hello_timeout: 3 });
  });

  it("within the limit: limits.hello", async () => {
    await scene.startDoor(configuration("limits: { hello: 1KiB }"), http);
    expect(await say(get("app.test", `/${"x".repeat(1000)}`))).toEqual(answered("400 Bad Request"));
    expect(await say(get("app.test", `/${"x".repeat(900)}`))).toEqual(closed);
    await expectCounted({ http_invalid: 1, rejected: 1 });
  });

  it("since the client closes, or resets, in its middle", async () => {
    await scene.startDoor(configuration("timeouts: { hello: 10m }"), http);
    const clients = await Promise.all(
      [1, 5, 17, 30, 45].flatMap((length) => [0, 1].map(() => scene.client(bytesOf(get("app.test").slice(0, length))))),
    );
    await scene.doorHas(clients.length);
    for (const [i, client] of clients.entries()) {
      if (i % 2 === 0) client.finish();
      else client.reset();
    }
    await expectCounted({ client_gone: clients.length });
  });
});

describe("a change", () => {
  beforeEach(() => {
    scene = new Scene();
  });
  afterEach(() => scene.end());

  it("by a reload: routes, redirect, challenges and the listener's protocol, told before", async () => {
    for (const name of ["a", "b"]) await scene.raw(name);
    const configuration = (section: string) => `${PATIENT}${handoffs("a", "b")}default: a\n${section}`;
    const door = await scene.startDoor(configuration("http: { routes: { x.test: a, y.test: a } }\n"), {
      ...http,
      channels: 2,
    });
    expect(await asking(get("x.test"))).toMatchObject({ name: "a" });
    const waiting = await scene.client(bytesOf(get("x.test").slice(0, 20)));
    await scene.doorHas(1);
    const text = configuration("http: { routes: { x.test: b, z.test: a }, redirect: https, acmeChallenge: a }\n");
    door.write(text);
    const { details } = await door.reload();
    expect(details).toEqual(
      expect.arrayContaining([
        "http routes added: 1",
        "  + z.test -> a",
        "http routes removed: 1",
        "  - y.test -> a",
        "http routes moved: 1",
        "  ~ x.test: a -> b",
        "~ http.redirect: none -> https, port 443",
        "~ http.acmeChallenge: none -> a",
      ]),
    );
    expect(await asking(get("x.test"))).toMatchObject({ name: "b" });
    expect(await say(get("y.test"))).toEqual(answered("308 Permanent Redirect", "https://y.test/"));

    // A listener's connections stay what they came as; its next ones are what it is then.
    door.write(`${door.head.replace("protocol: http", "protocol: tls")}${text}`, { whole: true });
    expect((await door.reload()).details).toEqual(
      expect.arrayContaining([expect.stringMatching(/^~ listeners\[.*\]\.protocol: http -> tls$/)]),
    );
    waiting.send(bytesOf(get("x.test").slice(20) + END));
    expect(await seen(waiting)).toMatchObject({ name: "b" });
    expect(await say(get("x.test"))).toEqual(closed);
    await expectCounted({ acknowledged: 3, redirected: 1, not_tls: 1 });
  });

  it("by 20 reloads: the memory of the routes is used again", async () => {
    const hosts = Array.from({ length: 2000 }, (_, i) => `    host-${i}.test: app\n`).join("");
    const configuration = (redirect: string) =>
      `backends: { app: { reject: access_denied } }\nhttp:\n  routes:\n${hosts}${redirect}`;
    const door = await scene.startDoor(configuration(""), http);
    for (let i = 0; i < 20; i++) {
      door.write(configuration(i % 2 === 0 ? "  redirect: https\n" : ""));
      expect(await door.reload()).toMatchObject({ event: "reloaded" });
      expect(await say(get(`host-${i * 99}.test`))).toEqual(answered("403 Forbidden"));
    }
    await expectCounted({ rejected: 20 });
  });

  it("by an upgrade: what waits and what is held goes on with the process that takes over", async () => {
    const configuration = `${PATIENT}backends: { app: { handoff: "${scene.at("app")}", hold: 60s } }\nhttp: { default: app }\n`;
    const door = await scene.startDoor(configuration, http);
    const request = get("app.test") + END;
    const held = await scene.client(bytesOf(request));
    const partial = await scene.client(bytesOf(request.slice(0, 30)));
    const malformed = await scene.client(bytesOf("GET / HTTP/1.1\r\nHost: a.test\r\n"));
    await scene.doorHas(3);
    expect(await door.upgrade()).toMatchObject({ event: "upgraded", counters: { passed_on: 3, defect: 0 } });
    await scene.doorHas(3);
    malformed.send(bytesOf("Host: b.test\r\n\r\n"));
    expect(texts(await malformed.reply)).toEqual(answered("400 Bad Request"));
    malformed.close();
    await scene.raw("app");
    partial.send(bytesOf(request.slice(30)));
    for (const client of [held, partial]) {
      expect(await seen(client)).toMatchObject({ name: "app", serverName: "app.test", sha256: sha256(request) });
    }
    scene.idle += 1; // the channel
    await expectCounted({ adopted: 3, acknowledged: 2, http_invalid: 1 });
  });
});

describe("behind a load balancer", () => {
  const BALANCER = "127.0.0.2";
  const proxied = header(1, {
    source: { family: "IPv4", address: "203.0.113.7", port: 56324 },
    destination: { family: "IPv4", address: "198.51.100.7", port: 80 },
  });
  const balanced = (text: string) => scene.client(Buffer.concat([proxied, bytesOf(text)]), BALANCER);

  beforeEach(() => {
    scene = new Scene();
  });
  afterEach(() => scene.end());

  it("the header is read, and the request behind it is not", async () => {
    await scene.raw("app");
    await scene.startDoor(
      `${PATIENT}accessLog: all\n${handoffs("app")}http: { routes: { app.test: app }, redirect: https }\n`,
      {
        listener: `protocol: http, acceptProxyProtocol: ["${BALANCER}"]`,
        channels: 1,
      },
    );
    const request = get("app.test") + END;
    expect(await seen(await balanced(request))).toMatchObject({ serverName: "app.test", sha256: sha256(request) });
    expect(texts(await (await balanced(get("b.test"))).reply)).toEqual(
      answered("308 Permanent Redirect", "https://b.test/"),
    );
    const slow = await balanced(request.slice(0, 10));
    await scene.doorHas(1);
    slow.send(bytesOf(request.slice(10)));
    expect(await seen(slow)).toMatchObject({ serverName: "app.test", sha256: sha256(request) });
    const line = await scene.door.event("access", ({ outcome }) => outcome === "answered");
    expect(line).toMatchObject({ protocol: "http", client: "203.0.113.7", proxy: BALANCER, server_name: "b.test" });
    expect(texts(await (await scene.client(bytesOf(get("b.test")), BALANCER)).reply)).toEqual(closed);
    for (const client of scene.clients) client.close();
    await expectCounted({ acknowledged: 2, redirected: 1, proxy_header_invalid: 1 });
  });

  it("in an upgrade headers and requests that have only begun go on", async () => {
    const configuration = `${PATIENT}backends: { app: { handoff: "${scene.at("app")}", hold: 60s } }\nhttp: { default: app }\n`;
    const door = await scene.startDoor(configuration, {
      listener: `protocol: http, acceptProxyProtocol: ["${BALANCER}"]`,
    });
    const request = get("app.test") + END;
    const all = Buffer.concat([proxied, bytesOf(request)]);
    const cuts = [0, 10, proxied.length, proxied.length + 30];
    const clients = await Promise.all(cuts.map((at) => scene.client(all.subarray(0, at), BALANCER)));
    await scene.doorHas(clients.length);
    expect(await door.upgrade()).toMatchObject({ event: "upgraded", counters: { passed_on: 4, defect: 0 } });
    await scene.raw("app");
    for (const [i, client] of clients.entries()) {
      client.send(all.subarray(cuts[i]!));
      expect(await seen(client)).toMatchObject({ serverName: "app.test", sha256: sha256(request) });
    }
    scene.idle += 1; // the channel
    await expectCounted({ adopted: 4, acknowledged: 4 });
  });
});

describe("explain --http", () => {
  beforeEach(() => {
    scene = new Scene();
  });
  afterEach(() => scene.end());

  it("says what becomes of a request, and why", async () => {
    const door = await scene.startDoor(
      `backends: { app: { reject: access_denied }, web: { reject: close } }
http: { routes: { app.test: app, "*.test": web }, redirect: { to: https, port: 8443 }, acmeChallenge: web }
`,
      http,
    );
    const said = async (...args: string[]) => (await sniHandoff(["explain", ...args, "--config", door.file])).stdout;
    expect(await said("App.test", "--http")).toBe(
      "http://app.test/ -> app\n  by       http.routes app.test\n  over     *.test -> web\n  backend  refuses with 403 Forbidden\n",
    );
    expect(await said("app.test", "--http", "--path", "/.well-known/acme-challenge/x")).toMatch(
      /-> web\n {2}by {7}http\.acmeChallenge\n/,
    );
    expect(await said("other.example", "--http", "--path", "/x")).toBe(
      "http://other.example/x -> 308 Permanent Redirect to https://other.example:8443/x\n  by       http.redirect\n",
    );
    expect(await said("192.0.2.1", "--http")).toBe("http://192.0.2.1/ -> 400 Bad Request\n  by       no key of http\n");
    for (const [args, message] of [
      [["--path", "/"], "--path is for --http"],
      [["--http", "--path", "x"], '--path: found "x"; allowed: a path that begins with "/"'],
      [["--http", "--client", "192.0.2.1"], "--alpn, --client and --tls are for TLS, not for --http"],
    ] as const) {
      const wrong = await sniHandoff(["explain", "app.test", ...args, "--config", door.file]);
      expect(wrong).toMatchObject({ status: 2, stderr: expect.stringContaining(message) });
    }
    await scene.counters();
  });
});
