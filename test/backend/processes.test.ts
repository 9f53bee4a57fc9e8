/** What takes processes of their own: limits, clusters, ends, and the examples as they stand. */
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import * as http2 from "node:http2";
import * as https from "node:https";
import * as net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MessageType, RefuseReason } from "../../src/handoff/layout.js";
import { Bridge, destroyAll } from "../support/bridge.js";
import { certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { openDescriptors } from "../support/descriptors.js";
import { until } from "../support/wait.js";

const library = new URL("../../dist/backend/index.js", import.meta.url).href;

let folder: string;
let path: string;
let before: string[];
const bridges: Bridge[] = [];
const clients: net.Socket[] = [];
const children: Child[] = [];

beforeEach(() => {
  before = openDescriptors();
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-"));
  path = join(folder, "door.sock");
});

afterEach(async () => {
  destroyAll(clients);
  for (const bridge of bridges.splice(0)) bridge.close();
  for (const child of children.splice(0)) await child.end("SIGKILL");
  rmSync(folder, { recursive: true });
  await until("the descriptors of before", () => openDescriptors().length <= before.length);
});

/** A program that has attach, receive, net, and `path`. It says what it wants the test to know, a line each. */
function run(script: string, prefix: readonly string[] = []): Child {
  const file = join(folder, "program.mjs");
  writeFileSync(
    file,
    `import net from "node:net";
     import { attach, receive } from ${JSON.stringify(library)};
     const path = ${JSON.stringify(path)};
     ${script}`,
  );
  const [command, ...args] = [...prefix, process.execPath, file];
  const child = new Child(command!, args);
  children.push(child);
  return child;
}

async function openBridge(at = path): Promise<Bridge> {
  const bridge = await Bridge.open(at);
  bridges.push(bridge);
  return bridge;
}

function client(port: number): net.Socket {
  const socket = net.connect(port, "127.0.0.1");
  socket.on("error", () => {});
  clients.push(socket);
  return socket;
}

/** utime + stime, proc_pid_stat(5). */
function processorTicks(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

const ready = (child: Child) => child.line("its being ready", (line) => line === "ready");

describe("at its own limit of descriptors", () => {
  it("the process refuses, keeps what it has, and goes on when there are descriptors again", async () => {
    const child = run(
      `const receiver = await receive({ path }, (socket) => socket.on("error", () => {}).resume());
       console.log("ready");`,
      ["prlimit", "--nofile=64"],
    );
    await ready(child);
    const bridge = await openBridge();
    let refused = 0;
    while (refused === 0) {
      client(bridge.port);
      const sequence = await bridge.next();
      await until("an answer", () =>
        bridge.door.received.some((message) => message.sequence === sequence && message.type !== 1),
      );
      if (bridge.door.received.some(({ type }) => type === 4)) refused = sequence;
      else bridge.drop();
    }
    expect(await bridge.door.refused(refused)).toMatchObject({ reason: RefuseReason.NO_DESCRIPTOR });
    expect(refused).toBeGreaterThan(20);
    const full = openDescriptors(child.pid).length;
    clients.shift()!.destroy();
    await until("a free descriptor", () => openDescriptors(child.pid).length === full - 1);
    client(bridge.port);
    await bridge.deliver();
    expect(child.running).toBe(true);
    expect(child.stderr).toBe("");
  });
});

describe("a listening socket that cannot be accepted from", () => {
  it("rests, says so once, takes no processor, and accepts when there are descriptors", async () => {
    const child = run(
      `import { closeSync, openSync } from "node:fs";
       await receive({ path }, () => {});
       const held = [];
       try {
         for (;;) held.push(openSync("/dev/null"));
       } catch {}
       process.on("SIGUSR2", () => {
         for (const descriptor of held.splice(0)) closeSync(descriptor);
       });
       console.log("ready");`,
      ["prlimit", "--nofile=64"],
    );
    await ready(child);
    const opening = openBridge();
    await until("the warning", () => child.stderr.includes("EMFILE"));
    const before = processorTicks(child.pid);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    // Ticks are 10 ms: a loop that does not rest would have used most of 150.
    expect(processorTicks(child.pid) - before).toBeLessThan(50);
    child.process.kill("SIGUSR2");
    await opening;
    expect(child.stderr.split("EMFILE").length - 1).toBeLessThanOrEqual(2);
  });
});

describe("a process", () => {
  it("that exits in order takes its path along, in a worker thread too", async () => {
    const child = run(
      `import { isMainThread, Worker } from "node:worker_threads";
       if (isMainThread) {
         await receive({ path: path + ".main" }, () => {});
         for (let i = 0; i < 2; i++) {
           const worker = new Worker(new URL(import.meta.url));
           await new Promise((resolve) => worker.once("exit", resolve));
         }
         console.log("both");
         process.exit(3);
       } else {
         await receive({ path }, () => {});
         process.exit();
       }`,
    );
    expect(await child.ended).toEqual({ status: 3, signal: null });
    expect(child.lines).toEqual(["both"]);
    expect(child.stderr).toBe("");
    expect(readdirSync(folder)).toEqual(["program.mjs"]);
  });

  it("ends by itself after receiver.close(), with nothing on its stderr", async () => {
    const child = run(
      `const receiver = await receive({ path }, (socket) => socket.end("bye"));
       process.once("SIGTERM", () => receiver.close());
       console.log("ready");`,
    );
    await ready(child);
    const bridge = await openBridge();
    const socket = client(bridge.port);
    socket.resume();
    await bridge.deliver();
    child.process.kill("SIGTERM");
    await bridge.drain();
    expect(await child.ended).toEqual({ status: 0, signal: null });
    expect(child.stderr).toBe("");
    expect(existsSync(path)).toBe(false);
  });

  const closedAtSigterm = `const server = net.createServer((socket) => socket.end());
     await attach(server, { path });
     process.once("SIGTERM", () => server.close());
     console.log("ready");`;

  it("refuses after server.close() what is on the way, and ends when the door has closed its channel", async () => {
    const child = run(closedAtSigterm);
    await ready(child);
    const bridge = await openBridge();
    child.process.kill("SIGTERM");
    await bridge.door.next(MessageType.DRAIN);
    client(bridge.port);
    const sequence = await bridge.next();
    expect(await bridge.door.refused(sequence)).toMatchObject({ reason: RefuseReason.DRAINING });
    expect(child.running).toBe(true);
    bridge.close();
    expect(await child.ended).toEqual({ status: 0, signal: null });
  });

  it("ends by itself after server.close(), though the door does not close its channel", async () => {
    const child = run(closedAtSigterm);
    await ready(child);
    const bridge = await openBridge();
    child.process.kill("SIGTERM");
    expect(await child.ended).toEqual({ status: 0, signal: null });
    await bridge.door.end();
  });

  it("is not kept alive by an unref'd receiver, and is by a ref'd one", async () => {
    const child = run(
      `const receiver = await receive({ path }, () => {});
       receiver.unref();
       console.log("ready");`,
    );
    await ready(child);
    expect(await child.ended).toEqual({ status: 0, signal: null });
    const server = run(
      `const server = net.createServer(() => {}).unref();
       const receiver = await attach(server, { path });
       server.ref();
       setTimeout(() => server.unref(), 50);
       console.log("ready");`,
    );
    await ready(server);
    expect(await server.ended).toEqual({ status: 0, signal: null });
  });

  it("that was killed leaves a path which the next one takes over", async () => {
    const script = `await receive({ path }, () => {}); console.log("ready");`;
    const first = run(script);
    await ready(first);
    const second = run(script);
    await until("the second one's end", () => !second.running);
    expect(second.stderr).toContain(`${path} is in use by process ${first.pid}`);
    await first.end("SIGKILL");
    expect(existsSync(path)).toBe(true);
    const third = run(script);
    await ready(third);
    await openBridge();
  });

  it("prints each warning about a door once, with its pid and uid", async () => {
    const child = run(`await receive({ path }, () => {}); console.log("ready");`);
    await ready(child);
    for (let i = 0; i < 3; i++) {
      const bridge = await openBridge();
      bridge.door.send(new Uint8Array(8));
      await bridge.door.end();
    }
    const expected = `protocol violation by the door, process ${process.pid} of user ${process.getuid!()}: version 0`;
    await until("the warning", () => child.stderr.includes(expected));
    expect(child.stderr.split(expected).length).toBe(2);
    expect(child.running).toBe(true);
  });
});

describe("worker threads", () => {
  it("receive, each at a path of its own, and end without a trace", async () => {
    const child = run(
      `import { isMainThread, Worker, threadId } from "node:worker_threads";
       if (isMainThread) {
         const workers = [1, 2].map(() => new Worker(new URL(import.meta.url)));
         process.once("SIGTERM", async () => {
           await Promise.all(workers.map((worker) => worker.terminate()));
           console.log("terminated");
         });
       } else {
         await receive({ path: path + threadId }, (socket) => socket.end("thread " + threadId));
         console.log("ready" + threadId);
       }`,
    );
    await until("both", () => child.lines.length === 2);
    for (const id of [1, 2]) {
      const bridge = await openBridge(path + id);
      const socket = client(bridge.port);
      const answered = once(socket, "data");
      await bridge.deliver();
      expect(String((await answered)[0])).toBe(`thread ${id}`);
      socket.on("data", () => {});
    }
    child.process.kill("SIGTERM");
    expect(await child.ended).toEqual({ status: 0, signal: null });
    expect(child.lines).toContain("terminated");
    for (const bridge of bridges) await bridge.door.end();
  });

  it("let go of path and channels when they are terminated: the next one receives there", async () => {
    const child = run(
      `import { isMainThread, Worker } from "node:worker_threads";
       if (isMainThread) {
         let worker = new Worker(new URL(import.meta.url));
         process.once("SIGUSR2", async () => {
           await worker.terminate();
           worker = new Worker(new URL(import.meta.url));
         });
       } else {
         await receive({ path }, (socket) => socket.end("served"));
         console.log("ready");
       }`,
    );
    await ready(child);
    const first = await openBridge();
    child.process.kill("SIGUSR2");
    await first.door.end();
    await until("the next one", () => child.lines.length === 2);
    const bridge = await openBridge();
    const answered = once(client(bridge.port), "data");
    await bridge.deliver();
    expect(String((await answered)[0])).toBe("served");
  });
});

describe("node:cluster", () => {
  it("workers have a socket each in a folder, and each serves its own", async () => {
    mkdirSync(`${path}.d`);
    const child = run(
      `import cluster from "node:cluster";
       import http from "node:http";
       if (cluster.isPrimary) {
         for (let i = 0; i < 3; i++) cluster.fork();
         process.once("SIGTERM", () => cluster.disconnect());
       } else {
         const server = http.createServer((request, response) => response.end(String(process.pid)));
         const receiver = await attach(server, { path: path + ".d/" });
         console.log("ready " + receiver.path);
       }`,
    );
    await until("all workers", () => child.lines.length === 3);
    const paths = child.lines.map((line) => line.slice("ready ".length));
    expect(readdirSync(`${path}.d`).toSorted()).toEqual(paths.map((own) => own.split("/").at(-1)).toSorted());
    for (const own of paths) {
      const bridge = await openBridge(own);
      const socket = client(bridge.port);
      const answered = once(socket, "data");
      socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      await bridge.deliver();
      const [pid] = /\d+$/.exec(String((await answered)[0]))!;
      expect(own).toContain(`/${pid}-`);
    }
    child.process.kill("SIGTERM");
    for (const bridge of bridges) await bridge.drain();
    expect(await child.ended).toEqual({ status: 0, signal: null });
    expect(readdirSync(`${path}.d`)).toEqual([]);
    expect(child.stderr).toBe("");
  });
});

describe("the examples, as they stand", () => {
  async function start(name: string) {
    const own = await certificate("app.example");
    writeFileSync(join(folder, "cert.pem"), own.cert);
    writeFileSync(join(folder, "key.pem"), own.key);
    const program = fileURLToPath(new URL(`../../examples/${name}/server.mjs`, import.meta.url));
    const child = new Child(process.execPath, [program, join(folder, "cert.pem"), join(folder, "key.pem"), path]);
    children.push(child);
    await child.line("its being ready", (line) => line === `receiving on ${path}`);
    const bridge = await openBridge();
    bridge.told = { name: own.name, alpn: "h2", flags: 1 };
    const options = { host: "127.0.0.1", port: bridge.port, servername: own.name, ca: own.cert };
    return { child, bridge, options };
  }

  async function terminate(child: Child, bridge: Bridge): Promise<void> {
    child.process.kill("SIGTERM");
    await bridge.drain();
    expect(await child.ended).toEqual({ status: 0, signal: null });
    expect(child.stderr).toBe("");
    expect(existsSync(path)).toBe(false);
  }

  async function getText(options: https.RequestOptions, bridge: Bridge): Promise<string> {
    const answered = once(https.get({ ...options, agent: false, headers: { host: options.servername } }), "response");
    await bridge.deliver();
    const [response] = await answered;
    return (await response.setEncoding("utf8").toArray()).join("");
  }

  it("node-https", async () => {
    const { child, bridge, options } = await start("node-https");
    expect(await getText(options, bridge)).toBe("hello 127.0.0.1, this is app.example\n");
    await terminate(child, bridge);
  });

  it("node-http2, also for clients without http2", async () => {
    const { child, bridge, options } = await start("node-http2");
    expect(await getText(options, bridge)).toBe("hello 127.0.0.1, this is app.example\n");
    const session = http2.connect(`https://127.0.0.1:${bridge.port}`, options);
    const ask = (authority: string) => session.request({ ":path": "/", ":authority": authority });
    const answer = ask("app.example").setEncoding("utf8").toArray();
    await bridge.deliver();
    expect((await answer).join("")).toBe("hello 127.0.0.1, this is app.example\n");
    const [{ ":status": status }] = await once(ask("other.example").resume(), "response");
    expect(status).toBe(421);
    const closed = once(session, "close");
    await terminate(child, bridge);
    await closed;
  });
});
