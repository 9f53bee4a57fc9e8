/** `node --import sni-handoff/listen app.js`: programs that were not changed, in processes of their own. */
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import * as http from "node:http";
import * as net from "node:net";
import * as tls from "node:tls";
import { fileURLToPath } from "node:url";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { native } from "../../src/native/addon.js";
import { body } from "../support/body.js";
import { Bridge } from "../support/bridge.js";
import { type Certificate, certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { Folder } from "../support/folder.js";
import { ask, askHttp2, type Greeting } from "../support/greetings.js";
import { until } from "../support/wait.js";

const preload = new URL("../../dist/backend/listen.js", import.meta.url).href;
const unchanged = fileURLToPath(new URL("../fixtures/unchanged.mjs", import.meta.url));
/** Somebody may have 443 of the machine itself; this one nobody has, and nobody is given by chance. */
const PORT = 443;

const folder = new Folder();
const children: Child[] = [];
const bridges: Bridge[] = [];
let count = 0;
let path: string;
let own: Certificate;
let files: string[];

beforeAll(async () => {
  own = await certificate("app.example");
  files = [folder.write("cert.pem", own.cert), folder.write("key.pem", own.key)];
});

beforeEach(() => {
  path = folder.at(`${count++}.sock`);
});

afterEach(async () => {
  for (const bridge of bridges.splice(0)) bridge.close();
  for (const child of children.splice(0)) await child.end("SIGKILL");
});

interface Start {
  /** SNI_HANDOFF; `PORT=path` if absent. */
  readonly variable?: string;
  readonly args?: readonly string[];
  /** Of Node, in place of `--import`. */
  readonly options?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** The program's descriptor 3. */
  readonly descriptor?: number;
}

function start(
  program: string,
  { variable = `${PORT}=${path}`, args = [], options, env = {}, descriptor }: Start = {},
): Child {
  const child = new Child(process.execPath, [...(options ?? ["--import", preload]), program, ...args], {
    env: { ...process.env, SNI_HANDOFF: variable, ...env },
    stdio: ["ignore", "pipe", "pipe", ...(descriptor === undefined ? [] : [descriptor])],
  });
  children.push(child);
  return child;
}

/** A program of this text; `say` writes a line. */
function run(script: string, options?: Start): Child {
  const head = `import * as net from "node:net"; const say = (value) => console.log(JSON.stringify(value));\n`;
  return start(folder.write(`program-${count}.mjs`, `${head}${script}`), options);
}

async function openBridge(at = path): Promise<Bridge> {
  const bridge = await Bridge.open(at);
  bridges.push(bridge);
  return bridge;
}

async function said(child: Child): Promise<unknown[]> {
  const { status } = await child.ended;
  expect({ status, stderr: errors(child) }).toEqual({ status: 0, stderr: "" });
  return child.lines.map((line) => JSON.parse(line));
}

/** What is on stderr beside the lines that say what is received. */
const errors = (child: Child) =>
  child.stderr
    .split("\n")
    .filter((line) => !/^sni-handoff: \S+ is received on \S+$/.test(line))
    .join("\n");

describe("a program as it is:", () => {
  const place = (bridge: Bridge) => ({ port: bridge.port, name: own.name, cert: own.cert });

  async function answered(bridge: Bridge, asked: Promise<Greeting>): Promise<Greeting> {
    asked.catch(() => {});
    await bridge.deliver();
    return asked;
  }

  async function started(kind: string): Promise<Bridge> {
    const child = start(unchanged, { args: [kind, String(PORT), ...files] });
    await child.line("listening", (line) => line === "listening");
    await until("the library's line", () => child.stderr.endsWith("\n"));
    expect(child.stderr).toMatch(new RegExp(`^sni-handoff: \\S+:${PORT} is received on ${path}\n$`));
    return openBridge();
  }

  const plain = async (port: number): Promise<Greeting> => {
    const [response] = await once(http.get({ port, host: "127.0.0.1", agent: false }), "response");
    const client = `127.0.0.1:${response.socket.localPort}`;
    return { status: response.statusCode, text: await body(response), client };
  };

  it.each([
    ["http", plain],
    ["express", plain],
    ["koa", plain],
    ["hono", plain],
  ])("%s", async (kind, get) => {
    const bridge = await started(kind);
    const { status, text, client } = await answered(bridge, get(bridge.port));
    expect({ status, text }).toEqual({ status: 200, text: `hello from ${kind}: ${client}\n` });
  });

  it.each([
    ["https", [ask]],
    ["nest", [ask]],
    ["http2", [ask, askHttp2]],
    ["fastify", [ask, askHttp2]],
  ])("%s over TLS", async (kind, ways) => {
    const bridge = await started(kind);
    for (const way of ways) {
      const { status, text, client } = await answered(bridge, way(place(bridge)));
      expect({ status, text }).toEqual({ status: 200, text: `hello from ${kind}: ${client}\n` });
    }
  });

  it.each(["net", "tls"])("%s", async (kind) => {
    const bridge = await started(kind);
    const client =
      kind === "net"
        ? net.connect(bridge.port, "127.0.0.1")
        : tls.connect({ port: bridge.port, host: "127.0.0.1", servername: own.name, ca: own.cert });
    const port = once(client, "connect").then(() => client.localPort);
    const text = body(client);
    await bridge.deliver();
    expect(await text).toBe(`hello from ${kind}: 127.0.0.1:${await port}\n`);
  });

  it("ws", async () => {
    const bridge = await started("ws");
    const client = new WebSocket(`ws://127.0.0.1:${bridge.port}/`);
    const seen: string[] = [];
    client.on("message", (data) => seen.push(String(data)));
    const opened = once(client, "open");
    await bridge.deliver();
    await opened;
    client.send("echoed");
    await until("the echo", () => seen.length === 2);
    expect(seen[0]).toMatch(/^hello from ws: 127\.0\.0\.1:\d+\n$/);
    expect(seen[1]).toBe("echoed");
    client.terminate();
  });
});

describe("server.listen()", () => {
  /** Listens in each way, says what can be seen, and closes. */
  const everyWay = (ways: readonly string[]) => `
    const seen = async (listen) => {
      const events = [];
      const server = net.createServer();
      server.on("listening", () => events.push("listening"));
      server.on("close", () => events.push("close"));
      const returned = listen(server, () => events.push("callback"));
      await new Promise((resolve) => server.once("listening", resolve));
      const address = server.address();
      await new Promise((resolve) => server.close(resolve));
      say([address, returned === server, server.listening, ...events]);
    };
    ${ways.map((way) => `await seen((server, callback) => server.listen(${way}));`).join("\n")}`;

  const any = { address: existsSync("/proc/net/if_inet6") ? "::" : "0.0.0.0" };
  const six = (address: string) => ({ address, family: "IPv6", port: PORT });
  const four = (address: string) => ({ address, family: "IPv4", port: PORT });
  const wildcard = any.address === "::" ? six("::") : four("0.0.0.0");

  it.each([
    [`${PORT}`, wildcard, false],
    [`"${PORT}"`, wildcard, false],
    [`${PORT}, callback`, wildcard, true],
    [`${PORT}, 511, callback`, wildcard, true],
    [`${PORT}, "127.0.0.1"`, four("127.0.0.1"), false],
    [`${PORT}, "127.0.0.1", 10, callback`, four("127.0.0.1"), true],
    [`${PORT}, "0::1", callback`, six("0::1"), true],
    [`${PORT}, undefined, callback`, wildcard, true],
    [`{ port: ${PORT} }`, wildcard, false],
    [`{ port: "${PORT}", host: "127.0.0.1", exclusive: true, backlog: 5 }, callback`, four("127.0.0.1"), true],
    [`{ port: ${PORT}, path: "/nowhere/unused.sock" }, callback`, wildcard, true],
    [`{ port: ${PORT}, host: "::", ipv6Only: true }, callback`, six("::"), true],
    [`{ port: ${PORT}, fd: -1 }, callback`, wildcard, true],
  ])("listen(%s)", async (way, address, calls) => {
    const child = run(everyWay([way]));
    const order = calls ? ["listening", "callback"].toSorted() : ["listening"];
    const [[seenAddress, returned, listening, ...events]] = (await said(child)) as [unknown[]];
    expect({ seenAddress, returned, listening }).toEqual({ seenAddress: address, returned: true, listening: false });
    expect(events.toSorted()).toEqual([...order, "close"].toSorted());
    const where = address.family === "IPv6" ? `[${address.address}]` : address.address;
    expect(child.stderr).toBe(`sni-handoff: ${where}:${PORT} is received on ${path}\n`);
    expect(existsSync(path)).toBe(false);
  });

  it("of a name listens on what the name is", async () => {
    const child = run(everyWay([`${PORT}, "localhost", callback`]));
    const [[address]] = (await said(child)) as [[{ address: string; port: number }]];
    expect(["127.0.0.1", "::1"]).toContain(address.address);
    expect(address.port).toBe(PORT);
  });

  it("of anything else is left alone", async () => {
    const passed = native.listenTcp({ address: "127.0.0.1", port: 0, backlog: 1 });
    const child = run(
      `const reachable = (server, where) => new Promise((resolve) => {
         server.once("connection", (socket) => { socket.destroy(); resolve(true); });
         const connect = () => net.connect(where ?? server.address().port).on("error", () => {}).resume();
         server.listening ? connect() : server.once("listening", connect);
       });
       const check = async (what, server, where) => {
         say([what, await reachable(server, where)]);
         await new Promise((resolve) => server.close(resolve));
       };
       await check("port 0", net.createServer().listen(0));
       await check("no arguments", net.createServer().listen());
       await check("a path", net.createServer().listen(process.argv[2]), process.argv[2]);
       await check("a descriptor", net.createServer().listen({ fd: 3, port: ${PORT} }));
       const second = net.createServer().listen(0);
       await check("a handle", net.createServer().listen(second._handle));
       process.exit();`,
      { args: [`${path}.other`], descriptor: passed },
    );
    expect(await said(child)).toEqual(
      ["port 0", "no arguments", "a path", "a descriptor", "a handle"].map((what) => [what, true]),
    );
    native.close(passed);
    expect(child.stderr).toBe("");
  });

  it("throws for what is wrong with it, as ever", async () => {
    const child = run(
      `const server = net.createServer();
       for (const listen of [() => server.listen(65536), () => server.listen({}), () => server.listen(${PORT}).listen(${PORT})]) {
         try { listen(); } catch (error) { say(error.code); }
       }
       server.close();`,
    );
    expect(await said(child)).toEqual(["ERR_SOCKET_BAD_PORT", "ERR_INVALID_ARG_VALUE", "ERR_SERVER_ALREADY_LISTEN"]);
  });

  it("ends by its signal, and may be called again", async () => {
    const child = run(
      `import { once } from "node:events";
       const abort = new AbortController();
       const server = net.createServer().listen({ port: ${PORT}, signal: abort.signal });
       await once(server, "listening");
       abort.abort();
       await once(server, "close");
       server.listen(${PORT});
       await once(server, "listening");
       say(server.address().port);
       server.unref();`,
    );
    expect(await said(child)).toEqual([PORT]);
  });
});

describe("a path that cannot be had is an 'error', as for a port:", () => {
  const listens = `
    process.on("uncaughtException", (error) => {
      const { code, errno, syscall, address, port, message } = error;
      say({ code, errno, syscall, address, port, message });
    });`;

  it("another process has it", async () => {
    const first = run(`net.createServer().listen(${PORT}, () => say("first"));`);
    await first.line("listening", (line) => line === '"first"');
    const second = run(`${listens} net.createServer().listen(${PORT}, "0.0.0.0");`);
    const [error] = (await said(second)) as [{ message: string }];
    expect(error).toMatchObject({ code: "EADDRINUSE", errno: -98, syscall: "listen", address: "0.0.0.0", port: PORT });
    expect(error.message).toMatch(/^listen EADDRINUSE: 0\.0\.0\.0:443 cannot be received: /);
    expect(error.message).toContain(`${path} is in use by process ${first.pid}`);
  });

  it("this process has it, for another address", async () => {
    const child = run(
      `${listens}
       const first = net.createServer().listen(${PORT}, "0.0.0.0");
       net.createServer().listen(${PORT}, "::").once("error", (error) => { say(error); say(error.message); first.close(); });`,
    );
    const [error, message] = (await said(child)) as [object, string];
    expect(error).toMatchObject({ code: "EADDRINUSE", address: "::", port: PORT });
    expect(message).toContain("this process receives 0.0.0.0:443 on it");
  });

  it("its folder is missing", async () => {
    const child = run(`${listens} net.createServer().listen(${PORT});`, { variable: `${PORT}=${path}/none/a.sock` });
    const [error] = await said(child);
    expect(error).toMatchObject({ code: "ENOENT", errno: -2, syscall: "listen", port: PORT });
  });

  it("it may not be made", async () => {
    mkdirSync(`${path}.d`, { mode: 0o755 });
    const child = run(
      `${listens} if (process.getuid() === 0) process.setuid(65534);
       net.createServer().listen(${PORT});`,
      { variable: `${PORT}=${process.getuid!() === 0 ? `${path}.d/a.sock` : "/proc/a.sock"}` },
    );
    const [error] = (await said(child)) as [{ code: string; message: string }];
    expect(error.message).toContain("cannot be received: cannot listen on ");
    expect(["EACCES", "ENOENT"]).toContain(error.code);
  });
});

describe("how it is loaded", () => {
  const program = `net.createServer((socket) => socket.end("served")).listen(${PORT}, () => say("listening"));`;

  async function isServed(child: Child): Promise<void> {
    await child.line("listening", (line) => line.includes("listening"));
    const bridge = await openBridge();
    const text = body(net.connect(bridge.port, "127.0.0.1"));
    await bridge.deliver();
    expect(await text).toBe("served");
    expect(errors(child)).toBe("");
  }

  it("from NODE_OPTIONS", async () => {
    await isServed(run(program, { options: [], env: { NODE_OPTIONS: `--import=${preload}` } }));
  });

  it("before CommonJS", async () => {
    const file = folder.write(
      "program.cjs",
      `require("net").createServer((socket) => socket.end("served")).listen(${PORT}, () => console.log("listening"));`,
    );
    await isServed(start(file));
  });

  it("by its name in the package", async () => {
    const { default: manifest } = await import("../../package.json", { with: { type: "json" } });
    expect(new URL(`../../${manifest.exports["./listen"].default}`, import.meta.url).href).toBe(preload);
  });

  it("twice, and in a worker thread", async () => {
    const worker = `
      import { isMainThread, Worker } from "node:worker_threads";
      if (isMainThread) new Worker(new URL(import.meta.url));
      else ${program.replace("say(", "console.log(")}`;
    await isServed(run(worker, { options: ["--import", preload, "--import", `${preload}?again`] }));
  });

  it("without the variable changes nothing", async () => {
    const child = run(`say(net.Server.prototype._listen2.name);`, { variable: "" });
    expect(await said(child)).toEqual(["setupListenHandle"]);
    expect(child.stderr).toBe("");
  });

  it("with a wrong variable ends at the start", async () => {
    const child = run(program, { variable: `${PORT}=relative.sock` });
    expect(await child.ended).toEqual({ status: 1, signal: null });
    expect(child.lines).toEqual([]);
    expect(child.stderr).toContain(`SNI_HANDOFF: the entry "${PORT}=relative.sock" is wrong: the path`);
  });
});

describe("several processes", () => {
  it("node:cluster: each worker has a socket in the folder, and the primary is told of each", async () => {
    mkdirSync(`${path}.d`);
    const child = run(
      `import cluster from "node:cluster";
       import http from "node:http";
       if (cluster.isPrimary) {
         cluster.on("listening", (worker, address) => say({ worker: worker.process.pid, ...address }));
         for (let i = 0; i < 3; i++) cluster.fork();
         process.once("SIGTERM", () => cluster.disconnect());
       } else {
         http.createServer((request, response) => response.end(String(process.pid))).listen(${PORT});
       }`,
      { variable: `${PORT}=${path}.d/` },
    );
    const told = () => child.lines.map((line) => JSON.parse(line) as { worker: number });
    await until("all workers", () => told().length === 3);
    expect(told()[0]).toMatchObject({ port: PORT, addressType: 4, address: null });
    for (const { worker } of told()) {
      const [name] = readdirSync(`${path}.d`).filter((each) => each.startsWith(`${worker}-`));
      const bridge = await openBridge(`${path}.d/${name}`);
      const [response] = await Promise.all([
        once(http.get({ port: bridge.port, host: "127.0.0.1", agent: false }), "response"),
        bridge.deliver(),
      ]);
      expect(await body(response[0])).toBe(String(worker));
    }
    child.process.kill("SIGTERM");
    for (const bridge of bridges) await bridge.drain();
    expect(await child.ended).toEqual({ status: 0, signal: null });
    expect(readdirSync(`${path}.d`)).toEqual([]);
    expect(errors(child)).toBe("");
  });

  it("node:cluster on one socket: the second worker is told who has it", async () => {
    const child = run(
      `import cluster from "node:cluster";
       if (cluster.isPrimary) {
         let pids = [];
         cluster.on("message", (worker, message) => {
           say([message, worker.process.pid]);
           if (pids.push(message) === 1) cluster.fork();
           else for (const each of Object.values(cluster.workers)) each.kill();
         });
         cluster.fork();
       } else {
         net.createServer().listen(${PORT}, () => process.send("listens")).on("error", (error) => process.send(error.message));
       }`,
    );
    const [first, second] = (await said(child)) as [[string, number], [string, number]];
    expect(first[0]).toBe("listens");
    expect(second[0]).toContain(`is in use by process ${first[1]}`);
    expect(second[0]).toContain("use a folder for several processes");
  });

  it("cluster's other ports, and datagrams, are the primary's as ever", async () => {
    const child = run(
      `import cluster from "node:cluster";
       import dgram from "node:dgram";
       if (cluster.isPrimary) {
         cluster.once("message", (worker, message) => { say(message); cluster.disconnect(); });
         cluster.fork();
       } else {
         const server = net.createServer((socket) => socket.end("by port")).listen(0, "127.0.0.1", () => {
           const datagrams = dgram.createSocket("udp4").bind(${PORT + 10_000}, "127.0.0.1", () => {
             net.connect(server.address().port, "127.0.0.1").on("data", (data) =>
               process.send([String(data), datagrams.address().port]));
           });
         });
       }`,
      { variable: `${PORT + 10_000}=${path}` },
    );
    expect(await said(child)).toEqual([["by port", PORT + 10_000]]);
  });
});
