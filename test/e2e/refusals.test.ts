/** Clients that the door does not serve: each is told so in the way that its kind asks for, and counted. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { CounterName } from "../../src/door/counters.js";
import { ALERT_CODES, type AlertName } from "../../src/tls/alerts.js";
import { ClientHelloReader } from "../../src/tls/client-hello.js";
import { ALERT_BY_REASON, INVALID_REASONS, Status } from "../../src/tls/outcome.js";
import { malformedHellos } from "../support/malformed-hellos.js";
import { program } from "../support/programs.js";
import { exchange, type RawClient, speak } from "../support/raw-client.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";
import { buildHello, postQuantumHello } from "../tls/hello-builder.js";

const END = Buffer.from("END\n");
const helloTo = (serverName: string) => Buffer.concat([buildHello({ serverName }), END]);

/** What a client reads: the alert's record, and nothing else. */
const alert = (name: AlertName) => ({ received: Buffer.from([21, 3, 3, 0, 2, 2, ALERT_CODES[name]]), end: "FIN" });
const closed = { received: Buffer.alloc(0), end: "FIN" };

/** Counters that tell why a client was not served; those that are not expected must be 0. */
const reasons: readonly CounterName[] = [
  "client_gone",
  "hello_timeout",
  "hello_invalid",
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

async function expectCounted(scene: Scene, counts: Partial<Record<CounterName, number>>): Promise<void> {
  const none = Object.fromEntries(reasons.map((reason) => [reason, 0]));
  expect(await scene.counters()).toMatchObject({ ...none, ...counts });
}

/** The name of the "raw" backend that serves what was sent. */
async function answeredBy(client: RawClient): Promise<string> {
  const { received } = await client.reply;
  return JSON.parse(received.toString()).name;
}

let scene: Scene;

describe("whom no route takes", () => {
  beforeAll(async () => {
    scene = new Scene();
    await scene.startDoor(`backends: { app: { handoff: "${scene.at("app")}" } }\nroutes: { app.test: app }\n`);
  });

  afterAll(async () => {
    await expectCounted(scene, { accepted: 9, no_route: 6, not_tls: 3 });
    await scene.end();
  });

  const name = "unknown.test";
  const openssl = () => ["s_client", "-connect", `127.0.0.1:${scene.door.port}`, "-servername", name];
  const curl = () => ["-sS", "--noproxy", "*", "--resolve", `${name}:${scene.door.port}:127.0.0.1`];
  const clients: [title: string, command: Parameters<typeof program>[0], args: () => string[], says: RegExp][] = [
    [
      "openssl s_client, TLS 1.3",
      "openssl",
      () => [...openssl(), "-tls1_3"],
      /tlsv1 unrecognized name:.*SSL alert number 112/,
    ],
    [
      "openssl s_client, TLS 1.2",
      "openssl",
      () => [...openssl(), "-tls1_2"],
      /tlsv1 unrecognized name:.*SSL alert number 112/,
    ],
    [
      "curl",
      "curl",
      () => [...curl(), `https://${name}:${scene.door.port}`],
      /^curl: \(35\) .*tlsv1 unrecognized name/,
    ],
    [
      "gnutls-cli",
      "gnutls-cli",
      () => ["--port", `${scene.door.port}`, "--sni-hostname", name, "127.0.0.1"],
      /Received alert \[112\]: The server name sent was not recognized/,
    ],
  ];

  it.each(clients)("%s says that its server name was not recognised", async (_title, command, args, says) => {
    const printed = await new Promise<string>((resolve) => {
      execFile(program(command), args(), (error, stdout, stderr) => {
        resolve(error === null ? "it succeeded" : `${stderr}${stdout}`);
      });
    });
    expect(printed).toMatch(says);
  });

  it.each([
    ["no name", buildHello()],
    ["an address for a name", buildHello({ serverName: "192.0.2.1" })],
  ])("a client with %s gets the same alert", async (_title, hello) => {
    expect(await speak(scene.door.port, hello)).toEqual(alert("unrecognized_name"));
  });

  it.each([["GET / HTTP/1.0\r\n\r\n"], ["SSH-2.0-OpenSSH_9.2p1\r\n"], ["\0"]])(
    "a client that says %j is no TLS client: closed",
    async (phrase) => {
      expect(await speak(scene.door.port, Buffer.from(phrase))).toEqual(closed);
    },
  );
});

describe("who has a route of its own", () => {
  beforeEach(async () => {
    scene = new Scene();
    for (const name of ["app", "nameless", "plain"]) await scene.raw(name);
  });

  afterEach(() => scene.end());

  const backends = () => `
backends:
  app: { handoff: "${scene.at("app")}" }
  nameless: { handoff: "${scene.at("nameless")}" }
  plain: { handoff: "${scene.at("plain")}" }
`;

  it("clients without a name, and those that do not speak TLS, not a byte missing", async () => {
    await scene.startDoor(`${backends()}default: app\nnoServerName: nameless\nnotTls: plain\n`, { channels: 3 });
    expect(await answeredBy(await scene.client(Buffer.concat([buildHello(), END])))).toBe("nameless");
    expect(await answeredBy(await scene.client(helloTo("unknown.test")))).toBe("app");
    for (const phrase of ["GET / HTTP/1.0\r\n\r\n", "SSH-2.0-OpenSSH_9.2p1\r\n", "\0"]) {
      const sent = Buffer.concat([Buffer.from(phrase), END]);
      const answer = JSON.parse((await exchange(scene.door.port, [sent])).toString());
      const sha256 = createHash("sha256").update(sent).digest("hex");
      expect(answer).toMatchObject({ name: "plain", count: sent.length, sha256 });
      expect(answer.serverName).toBeUndefined();
    }
    await expectCounted(scene, { accepted: 5, acknowledged: 5 });
  });

  it("clients without a name, by the default", async () => {
    await scene.startDoor(`${backends()}default: app\n`, { channels: 3 });
    expect(await answeredBy(await scene.client(Buffer.concat([buildHello(), END])))).toBe("app");
    await expectCounted(scene, { acknowledged: 1 });
  });
});

describe("a backend that rejects", () => {
  beforeAll(async () => {
    scene = new Scene();
    await scene.startDoor(`
backends:
  unknown: { reject: unrecognized_name }
  denied: { reject: access_denied }
  broken: { reject: internal_error }
  closed: { reject: close }
  reset: { reject: reset }
routes: { unknown.test: unknown, denied.test: denied, broken.test: broken, closed.test: closed, reset.test: reset }
`);
  });

  afterAll(async () => {
    await expectCounted(scene, { accepted: 10, rejected: 10 });
    await scene.end();
  });

  it.each([
    ["unknown", "the alert unrecognized_name", alert("unrecognized_name")],
    ["denied", "the alert access_denied", alert("access_denied")],
    ["broken", "the alert internal_error", alert("internal_error")],
    ["closed", "the end of the stream", closed],
    ["reset", "a reset", { received: Buffer.alloc(0), end: "ECONNRESET" }],
  ])("%s: by %s", async (name, _what, reply) => {
    const hello = buildHello({ serverName: `${name}.test` });
    expect(await speak(scene.door.port, hello)).toEqual(reply);
    expect(await speak(scene.door.port, Buffer.concat([hello, new Uint8Array(300_000)]))).toEqual(reply);
  });
});

describe("a malformed hello", () => {
  const reader = new ClientHelloReader();

  beforeAll(async () => {
    scene = new Scene();
    await scene.startDoor(`backends: { app: { reject: close } }\ndefault: app\n`);
  });

  afterAll(async () => {
    await expectCounted(scene, { hello_invalid: 2 * INVALID_REASONS.length });
    await scene.end();
  });

  it.each(INVALID_REASONS)("%s: its alert, whole, whatever comes behind the hello", async (reason) => {
    const hello = malformedHellos[reason];
    expect(reader.read(hello, 0, hello.length)).toBe(Status.INVALID);
    expect(reader.reason).toBe(reason);
    const reply = alert(ALERT_BY_REASON[reason]);
    expect(await speak(scene.door.port, hello)).toEqual(reply);
    expect(await speak(scene.door.port, Buffer.concat([hello, new Uint8Array(1_000_000)]))).toEqual(reply);
  });
});

describe("a hello that does not become whole", () => {
  beforeEach(async () => {
    scene = new Scene();
    await scene.raw("app");
  });

  afterEach(() => scene.end());

  const configuration = (more: string) =>
    `backends: { app: { handoff: "${scene.at("app")}" } }\ndefault: app\n${more}\n`;
  const hello = helloTo("app.test");

  it("is larger than the limit: illegal_parameter", async () => {
    await scene.startDoor(configuration("limits: { hello: 1KiB }"), { channels: 1 });
    expect(await speak(scene.door.port, postQuantumHello())).toEqual(alert("illegal_parameter"));
    expect(await answeredBy(await scene.client(hello))).toBe("app");
    await expectCounted(scene, { accepted: 2, hello_invalid: 1, acknowledged: 1 });
  });

  it("in time: silent, slow and trickling clients are closed at the deadline, others are served meanwhile", async () => {
    const HELLO = 1500;
    await scene.startDoor(configuration(`timeouts: { hello: ${HELLO}ms }`), {
      listener: "deferAccept: 0",
      channels: 1,
    });
    const begun = performance.now();
    const silent = await Promise.all(Array.from({ length: 20 }, () => scene.client()));
    const oneByte = await Promise.all(Array.from({ length: 20 }, () => scene.client(hello.subarray(0, 1))));
    const trickling = await Promise.all(Array.from({ length: 20 }, () => scene.client()));
    let sent = 0;
    // At least 26 s for the whole hello, at this rate.
    const timer = setInterval(() => {
      for (const client of trickling) client.send(hello.subarray(sent, sent + 1));
      sent++;
    }, 50);
    const replies = Promise.all([...silent, ...oneByte, ...trickling].map((client) => client.reply));
    let over = false;
    let served = 0;
    const done = replies.then(() => {
      over = true;
    });
    do {
      expect(await answeredBy(await scene.client(hello))).toBe("app");
      served++;
    } while (!over);
    await done;
    const took = performance.now() - begun;
    clearInterval(timer);
    expect(await replies).toEqual(Array.from({ length: 60 }, () => closed));
    expect(took).toBeGreaterThan(HELLO);
    // Before the whole hello came from those that trickle.
    expect(sent).toBeLessThan(hello.length);
    await expectCounted(scene, { accepted: 60 + served, hello_timeout: 60, acknowledged: served });
  });

  it("in time: a silent client that the kernel kept to itself for a second is closed too", async () => {
    await scene.startDoor(configuration("timeouts: { hello: 300ms }"), { listener: "deferAccept: 1s", channels: 1 });
    const silent = await scene.client();
    expect(await silent.reply).toEqual(closed);
    await expectCounted(scene, { accepted: 1, hello_timeout: 1 });
  });

  it("since the client closes, or resets, in its middle: counted, and nothing stays open", async () => {
    await scene.startDoor(configuration("timeouts: { hello: 10m }"), { channels: 1 });
    const clients = await Promise.all(
      [1, 5, 9, 40, 100].flatMap((length) => [0, 1].map(() => scene.client(hello.subarray(0, length)))),
    );
    await scene.doorHas(clients.length);
    for (const [i, client] of clients.entries()) {
      if (i % 2 === 0) client.finish();
      else client.reset();
    }
    await expectCounted(scene, { accepted: clients.length, client_gone: clients.length });
  });
});

describe("a backend that has no instance", () => {
  beforeEach(() => {
    scene = new Scene();
  });

  afterEach(() => scene.end());

  /** `app` without an instance, with these settings. */
  const app = (settings: string, more = "") =>
    `backends:\n  app: { handoff: "${scene.at("app")}", ${settings} }\n${more}routes: { app.test: app }\n`;
  const hello = helloTo("app.test");

  it("its clients leave while they are held: counted, and nothing stays open", async () => {
    await scene.startDoor(app("hold: 10m"));
    const clients = await Promise.all(Array.from({ length: 10 }, () => scene.client(hello)));
    await scene.doorHas(clients.length);
    for (const [i, client] of clients.entries()) {
      if (i % 2 === 0) client.finish();
      else client.reset();
    }
    await expectCounted(scene, { held: 10, client_gone: 10 });
  });

  it("until the hold ends: internal_error", async () => {
    await scene.startDoor(app("hold: 300ms"));
    const begun = performance.now();
    const clients = await Promise.all(Array.from({ length: 10 }, () => scene.client(hello)));
    for (const client of clients) expect(await client.reply).toEqual(alert("internal_error"));
    expect(performance.now() - begun).toBeGreaterThan(300);
    await expectCounted(scene, { held: 10, hold_timeout: 10 });
  });

  it("and no hold: internal_error at once", async () => {
    await scene.startDoor(app("hold: 0"));
    expect(await (await scene.client(hello)).reply).toEqual(alert("internal_error"));
    await expectCounted(scene, { held: 0, hold_timeout: 1 });
  });

  it("until the hold ends: its fallback serves, and gets the hello whole", async () => {
    await scene.raw("sorry");
    const sorry = `  sorry: { handoff: "${scene.at("sorry")}" }\n`;
    await scene.startDoor(app("hold: 300ms, fallback: sorry", sorry), { channels: 1 });
    const { received } = await (await scene.client(hello)).reply;
    expect(JSON.parse(received.toString())).toMatchObject({
      name: "sorry",
      serverName: "app.test",
      sha256: createHash("sha256").update(hello).digest("hex"),
    });
    await expectCounted(scene, { held: 1, fallback: 1, acknowledged: 1 });
  });

  it("until the hold ends: its fallback rejects", async () => {
    await scene.startDoor(app("hold: 300ms, fallback: sorry", "  sorry: { reject: access_denied }\n"));
    expect(await (await scene.client(hello)).reply).toEqual(alert("access_denied"));
    await expectCounted(scene, { held: 1, fallback: 1, rejected: 1 });
  });

  it("nor has its fallback: each holds it in turn, then internal_error", async () => {
    const second = `  second: { handoff: "${scene.at("second")}", hold: 400ms }\n`;
    await scene.startDoor(app("hold: 300ms, fallback: second", second));
    const begun = performance.now();
    expect(await (await scene.client(hello)).reply).toEqual(alert("internal_error"));
    expect(performance.now() - begun).toBeGreaterThan(700);
    await expectCounted(scene, { held: 2, fallback: 1, hold_timeout: 1 });
  });

  it("maxHeld: more are refused at once, and those that are held are served later", async () => {
    await scene.startDoor(app("hold: 10m, maxHeld: 3"), { workers: 2 });
    const first = await Promise.all(Array.from({ length: 3 }, () => scene.client(hello)));
    await scene.doorHas(3);
    for (let i = 0; i < 5; i++) expect(await (await scene.client(hello)).reply).toEqual(alert("internal_error"));
    await scene.raw("app");
    for (const client of first) expect(await answeredBy(client)).toBe("app");
    await until(
      "the channels' sockets to be counted",
      () => scene.door.log.filter((line) => line.event === "channel.ready").length === 2,
    );
    scene.idle += 2;
    await expectCounted(scene, { hold_full: 5, acknowledged: 3 });
  });

  it("maxHeld: more go to the fallback at once", async () => {
    await scene.raw("sorry");
    const sorry = `  sorry: { handoff: "${scene.at("sorry")}" }\n`;
    await scene.startDoor(app("hold: 10m, maxHeld: 1, fallback: sorry", sorry), { channels: 1 });
    const first = await scene.client(hello);
    await scene.doorHas(1);
    expect(await answeredBy(await scene.client(hello))).toBe("sorry");
    first.reset();
    await expectCounted(scene, { fallback: 1, acknowledged: 1, client_gone: 1 });
  });

  it("maxHeldPerClient: more of one address are refused, another address is held", async () => {
    await scene.startDoor(app("hold: 10m, maxHeldPerClient: 2"));
    const first = [await scene.client(hello), await scene.client(hello)];
    await scene.doorHas(2);
    expect(await (await scene.client(hello)).reply).toEqual(alert("internal_error"));
    const other = await scene.client(hello, "127.0.0.2");
    await scene.doorHas(3);
    // One that leaves makes room for another.
    first[0]!.reset();
    await scene.doorHas(2);
    const later = await scene.client(hello);
    await scene.doorHas(3);
    await scene.raw("app");
    for (const client of [first[1]!, other, later]) expect(await answeredBy(client)).toBe("app");
    await scene.channels(1);
    scene.idle += 1;
    await expectCounted(scene, { held: 4, hold_full: 1, client_gone: 1, acknowledged: 3 });
  });
});
