/** stunnel, Python's http.server and a plain epoll server, preloaded, behind the door. */
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Child } from "../support/child.js";
import { program } from "../support/programs.js";
import { until } from "../support/wait.js";
import { compiled } from "./support/compiled.js";
import { ADDRESS, PreloadScene } from "./support/preload-scene.js";
import { Stunnel, type StunnelStart } from "./support/stunnel.js";

let scene: PreloadScene;

beforeEach(async () => {
  scene = await PreloadScene.create();
});

afterEach(() => scene.end());

/** Resolves when so many more clients are in a log. */
async function more(clients: () => readonly string[], count: number): Promise<void> {
  const before = clients().length;
  await until(`${count} more clients`, () => clients().length >= before + count, 60_000);
}

describe("stunnel", () => {
  const ANSWER_END = "from plain\n";
  let plain: Server;

  beforeEach(async () => {
    plain = createServer((_, response) => response.end(`hello ${ANSWER_END}`));
    await new Promise<void>((resolve) => plain.listen(0, "127.0.0.1", resolve));
  });

  afterEach(() => plain.close());

  const stunnelStart = (): StunnelStart => {
    const { folder, certificate, environment } = scene;
    const { port } = plain.address() as AddressInfo;
    return { folder, certificate, accept: ADDRESS, connect: `127.0.0.1:${port}`, environment };
  };

  it("reloads by HUP, which closes its listener and makes another, under load", async () => {
    const stunnel = await Stunnel.start(stunnelStart());
    await scene.door.instances("app", 1);
    const load = await scene.load(ANSWER_END);
    await more(() => stunnel.clients, 300);
    for (let i = 0; i < 8; i++) {
      await stunnel.reload();
      await more(() => stunnel.clients, 200);
    }
    const { completed, failed, failures } = await load.stop();
    await stunnel.stop();
    console.log(`stunnel, 8 reloads: ${completed} answered, ${JSON.stringify(failures)}`);
    expect(new Set(stunnel.clients).size).toBe(stunnel.clients.length);
    await scene.expectNothingLeft();
    // By itself it refuses whoever comes in between, and resets whoever waits. Here those may be lost that waited in its own
    // queue for so long that they were taken to be its.
    const { acknowledged } = await scene.door.stop();
    expect(failed).toBeLessThanOrEqual(acknowledged - stunnel.clients.length);
    expect(failures).toMatchObject({ refused: 0, closed: 0, halved: 0, unanswered: 0, other: 0 });
  });

  it("the helper killed under load: it is there again, and nothing is served twice", async () => {
    const stunnel = await Stunnel.start(stunnelStart());
    await scene.door.instances("app", 1);
    const load = await scene.load(ANSWER_END);
    for (let i = 0; i < 3; i++) {
      await more(() => stunnel.clients, 200);
      await scene.killHelper();
    }
    await more(() => stunnel.clients, 200);
    const summary = await load.stop();
    await stunnel.stop();
    await scene.expectEnd(stunnel.clients, summary);
  });
});

const script = fileURLToPath(new URL("fixtures/https_server.py", import.meta.url));

const TLS = ["-lssl", "-lcrypto"];

/** Servers that take an address, a port, a certificate and its key, and say "client ADDRESS:PORT" of each request. */
const simple: [name: string, ending: string, command: (files: string[]) => string[]][] = [
  [
    "Python's http.server under ssl",
    "from python\n",
    (files) => [program("python3"), script, ...ADDRESS.split(":"), ...files],
  ],
  ...(["level", "edge"] as const).map((mode): (typeof simple)[number] => [
    `a plain epoll server of two processes, ${mode}-triggered`,
    "from epoll\n",
    (files) => [compiled("epoll_server.c", TLS), ...ADDRESS.split(":"), ...files, ...["2", mode]],
  ]),
];

describe.each(simple)("%s", (_, ending, commandOf) => {
  async function start(): Promise<Child> {
    const { folder, certificate, environment } = scene;
    mkdirSync(folder, { recursive: true });
    const files = [join(folder, "cert.pem"), join(folder, "key.pem")];
    writeFileSync(files[0]!, certificate.cert);
    writeFileSync(files[1]!, certificate.key, { mode: 0o600 });
    const [command, ...args] = commandOf(files);
    const child = new Child(command!, args, { env: { ...process.env, ...environment } });
    await child.line("it to serve", (line) => line === "serving");
    return child;
  }

  const clientsOf = (child: Child) =>
    child.lines.filter((line) => line.startsWith("client ")).map((line) => line.split(" ")[1]!);

  it("stopped and started under load", async () => {
    const all = [await start()];
    const clients = () => all.flatMap(clientsOf);
    await scene.door.instances("app", 1);
    const load = await scene.load(ending);
    for (let i = 0; i < 4; i++) {
      await more(clients, 400);
      expect(await all.at(-1)!.end("SIGTERM")).toEqual({ status: 0, signal: null });
      all.push(await start());
    }
    await more(clients, 400);
    const summary = await load.stop();
    await all.at(-1)!.end("SIGTERM");
    await scene.expectEnd(clients(), summary);
  });

  it("the helper killed under load: it is there again, and nothing is served twice", async () => {
    const server = await start();
    await scene.door.instances("app", 1);
    const load = await scene.load(ending);
    for (let i = 0; i < 3; i++) {
      await more(() => clientsOf(server), 300);
      await scene.killHelper();
    }
    await more(() => clientsOf(server), 300);
    const summary = await load.stop();
    await server.end("SIGTERM");
    await scene.expectEnd(clientsOf(server), summary);
  });
});

describe("a listener of either family, and a door of either", () => {
  it.each([
    ["0.0.0.0", "443", "127.0.0.1", /^127\.64\.\d+\.\d+:\d+$/],
    ["0.0.0.0", "0.0.0.0:443", "*", /^127\.64\.\d+\.\d+:\d+$/],
    ["::", "443", "127.0.0.1", /^::ffff:127\.64\.\d+\.\d+:\d+$/],
    ["::", "[::]:443", "*", /^::ffff:127\.64\.\d+\.\d+:\d+$/],
  ])("listening on %s, with %s in SNI_HANDOFF, the door on %s", async (listen, address, host, expected) => {
    await scene.end();
    scene = await PreloadScene.create({ address, host });
    const { folder, certificate, environment } = scene;
    mkdirSync(folder, { recursive: true });
    const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
    writeFileSync(cert, certificate.cert);
    writeFileSync(key, certificate.key, { mode: 0o600 });
    const args = [listen, "443", cert, key, "1", "level"];
    const server = new Child(compiled("epoll_server.c", TLS), args, { env: { ...process.env, ...environment } });
    await scene.door.instances("app", 1);
    const load = await scene.load("from epoll\n");
    const clients = () => server.lines.filter((line) => line.startsWith("client ")).map((line) => line.split(" ")[1]!);
    await more(clients, 50);
    expect((await load.stop()).failed).toBe(0);
    expect(clients().filter((client) => !expected.test(client))).toEqual([]);
    await server.end("SIGTERM");
    await scene.expectNothingLeft();
  });
});
