/** The end of processes that receive, each in its own way, from the signal to the last connection. */
import { once } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import * as http2 from "node:http2";
import * as net from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { drainOnSignal } from "../../src/backend/index.js";
import type { Receiver } from "../../src/handoff/receiver.js";
import { body } from "../support/body.js";
import { Bridge, destroyAll } from "../support/bridge.js";
import { Child } from "../support/child.js";
import { Folder } from "../support/folder.js";
import { until } from "../support/wait.js";

const library = new URL("../../dist/backend/index.js", import.meta.url).href;

const folder = new Folder();
let count = 0;
let path: string;
let child: Child;
let bridge: Bridge;
const clients: net.Socket[] = [];

beforeEach(() => {
  path = folder.at(`${count++}.sock`);
});

afterEach(async () => {
  destroyAll(clients);
  bridge?.close();
  await child?.end("SIGKILL");
});

/**
 * A program with servers of each kind. Of a request for /slow it says "asked", and ends the answer at SIGUSR2; for /begun
 * it sends the head before.
 */
async function run(script: string): Promise<void> {
  const program = folder.write(
    `${count}.mjs`,
    `import http from "node:http";
     import http2 from "node:http2";
     import net from "node:net";
     import { attach, drainOnSignal, receive } from ${JSON.stringify(library)};
     const path = ${JSON.stringify(path)};
     const waiting = [];
     const answer = (request, response) => {
       if (request.url === "/") return response.end("at once");
       if (request.url === "/begun") response.write("begun, ");
       waiting.push(response);
       console.log("asked");
     };
     process.on("SIGUSR2", () => { for (const response of waiting) response.end("done"); });
     ${script}
     console.log("ready");`,
  );
  child = new Child(process.execPath, [program]);
  await child.line("its being ready", (line) => line === "ready");
  bridge = await Bridge.open(path);
}

const httpServer = `const server = http.createServer({ keepAliveTimeout: 0 }, answer);
  const receiver = await attach(server, { path });`;

async function client(): Promise<{ socket: net.Socket; seen: { text: string; ended: boolean } }> {
  const socket = net.connect(bridge.port, "127.0.0.1");
  clients.push(socket);
  const seen = { text: "", ended: false };
  socket.on("error", () => {});
  socket.on("data", (data) => {
    seen.text += data;
  });
  socket.on("end", () => {
    seen.ended = true;
  });
  await bridge.deliver();
  return { socket, seen };
}

const get = (url: string) => `GET ${url} HTTP/1.1\r\nHost: a\r\n\r\n`;
const asked = (times: number) =>
  until(`${times} requests`, () => child.lines.filter((line) => line === "asked").length === times);

/** SIGTERM, and the door does its part. */
async function terminate(): Promise<void> {
  child.process.kill("SIGTERM");
  await bridge.drain();
}

async function ended(status = 0): Promise<void> {
  expect(await child.ended).toEqual({ status, signal: null });
  expect(child.stderr).toBe("");
  expect(existsSync(path)).toBe(false);
}

describe("HTTP/1", () => {
  it("open requests are answered, and told that the connection ends", async () => {
    await run(`${httpServer} drainOnSignal(receiver);`);
    const { socket, seen } = await client();
    socket.write(get("/slow"));
    await asked(1);
    await terminate();
    expect(child.running).toBe(true);
    child.process.kill("SIGUSR2");
    await until("the end", () => seen.ended);
    expect(seen.text).toContain("Connection: close");
    expect(seen.text).toContain("done");
    await ended();
  });

  it("an answer whose head is sent already is finished, and its connection closed behind it", async () => {
    await run(`${httpServer} drainOnSignal(receiver);`);
    const { socket, seen } = await client();
    socket.write(get("/begun"));
    await until("its head", () => seen.text.includes("begun"));
    await terminate();
    child.process.kill("SIGUSR2");
    await until("the end", () => seen.ended);
    expect(seen.text).toContain("Connection: keep-alive");
    expect(seen.text).toContain("done");
    await ended();
  });

  it("idle connections are closed at once; one that has not asked yet may", async () => {
    await run(`${httpServer} drainOnSignal(receiver);`);
    const idle = await client();
    idle.socket.write(get("/"));
    await until("the answer", () => idle.seen.text.includes("at once"));
    const fresh = await client();
    await terminate();
    await until("the idle one's end", () => idle.seen.ended);
    expect(fresh.seen.ended).toBe(false);
    fresh.socket.write(get("/"));
    await until("the fresh one's end", () => fresh.seen.ended);
    expect(fresh.seen.text).toContain("Connection: close");
    expect(fresh.seen.text).toContain("at once");
    await ended();
  });

  it("a request that waits for 100 Continue is open, where the program answers it itself", async () => {
    await run(`${httpServer} server.on("checkContinue", answer); drainOnSignal(receiver);`);
    const { socket, seen } = await client();
    socket.write(get("/"));
    await until("the first answer", () => seen.text.includes("at once"));
    socket.write("POST /slow HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n");
    await asked(1);
    await terminate();
    child.process.kill("SIGUSR2");
    await until("the end", () => seen.ended);
    expect(seen.text).toContain("done");
    await ended();
  });

  it("requests behind one another on a connection are all answered", async () => {
    await run(`${httpServer} drainOnSignal(receiver);`);
    const { socket, seen } = await client();
    socket.write(get("/begun") + get("/slow"));
    await asked(2);
    await terminate();
    child.process.kill("SIGUSR2");
    await until("the end", () => seen.ended);
    expect(seen.text.match(/done/g)).toHaveLength(2);
    await ended();
  });

  it("what the door had handed over before it read DRAIN is served", async () => {
    await run(`${httpServer} drainOnSignal(receiver);`);
    child.process.kill("SIGTERM");
    await bridge.door.next(6); // DRAIN
    const { socket, seen } = await client();
    socket.write(get("/"));
    await until("the end", () => seen.ended);
    expect(seen.text).toContain("at once");
    bridge.close();
    await ended();
  });
});

describe("HTTP/2", () => {
  const server = `const server = http2.createServer(answer);
    const receiver = await attach(server, { path });
    drainOnSignal(receiver);`;

  async function session(): Promise<http2.ClientHttp2Session> {
    const opened = http2.connect(`http://127.0.0.1:${bridge.port}`);
    const settings = once(opened, "remoteSettings");
    await bridge.deliver();
    await settings;
    return opened;
  }

  it("open streams go on behind GOAWAY; idle sessions end; one that has not asked yet may", async () => {
    await run(server);
    const [busy, idle, fresh] = [await session(), await session(), await session()];
    const slow = body(busy.request({ ":path": "/slow" }));
    expect(await body(idle.request({ ":path": "/" }))).toBe("at once");
    await asked(1);
    const told = Promise.all([once(busy, "goaway"), once(idle, "goaway"), once(idle, "close")]);
    await terminate();
    await told;
    expect(fresh.closed).toBe(false);
    expect(await body(fresh.request({ ":path": "/" }))).toBe("at once");
    await once(fresh, "close");
    child.process.kill("SIGUSR2");
    expect(await slow).toBe("done");
    await ended();
  });
});

describe("what became another protocol", () => {
  it("is left to the program, behind an upgrade and CONNECT", async () => {
    await run(
      `${httpServer}
       for (const event of ["upgrade", "connect"]) {
         server.on(event, (request, socket) => {
           socket.write("HTTP/1.1 200 switched\\r\\n\\r\\n");
           socket.on("data", (data) => socket.write(data));
           socket.on("end", () => socket.end());
         });
       }
       drainOnSignal(receiver);`,
    );
    const upgraded = await client();
    upgraded.socket.write(get("/"));
    await until("the answer", () => upgraded.seen.text.includes("at once"));
    upgraded.socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    const tunnel = await client();
    tunnel.socket.write("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n");
    await until("both", () => [upgraded, tunnel].every(({ seen }) => seen.text.includes("switched")));
    await terminate();
    for (const { socket, seen } of [upgraded, tunnel]) {
      socket.write("still here");
      await until("the echo", () => seen.text.includes("still here"));
      expect(child.running).toBe(true);
      socket.end();
    }
    await ended();
  });
});

describe("the deadline", () => {
  it("cuts what is left, and onDrained is told how much", async () => {
    await run(
      `const receiver = await receive({ path }, (socket) => socket.on("error", () => {}).resume());
       drainOnSignal(receiver, {
         deadline: 200,
         onDrain: () => console.log("draining"),
         onDrained: async (cut) => {
           await new Promise((resolve) => setTimeout(resolve, 10));
           console.log("cut " + cut);
         },
       });`,
    );
    const [first, second] = [await client(), await client()];
    first.socket.end();
    await until("its end", () => first.seen.ended);
    await terminate();
    await until("the other one's end", () => second.seen.ended);
    await ended();
    expect(child.lines).toEqual(["ready", "draining", "cut 1"]);
  });

  it("holds though the door does not close its channel", async () => {
    await run(
      `${httpServer} drainOnSignal(receiver, { deadline: 100, onDrained: (cut) => console.log("cut " + cut) });`,
    );
    const { socket, seen } = await client();
    socket.write(get("/begun"));
    await asked(1);
    child.process.kill("SIGTERM");
    await bridge.door.end();
    await until("the end", () => seen.ended || socket.destroyed);
    await ended();
    expect(child.lines.at(-1)).toBe("cut 1");
  });

  it("cuts what is delivered behind it, too", async () => {
    // Timers of the same time run in one turn: the connection is in the queue when the deadline's does.
    const delivered = folder.at(`${count}-delivered`);
    const busy = `console.log("busy"); while (!existsSync(${JSON.stringify(delivered)}));`;
    await run(
      `import { existsSync } from "node:fs"; ${httpServer} drainOnSignal(receiver, {
         deadline: 100,
         onDrain: () => setTimeout(() => { ${busy} }, 100),
         onDrained: (cut) => console.log("cut " + cut),
       });`,
    );
    const socket = net.connect(bridge.port, "127.0.0.1");
    clients.push(socket.on("error", () => {}));
    await once(socket, "connect");
    child.process.kill("SIGTERM");
    await child.line("its being busy", (line) => line === "busy");
    await bridge.next();
    writeFileSync(delivered, "");
    await bridge.door.end();
    await ended();
    expect(child.lines.at(-1)).toBe("cut 1");
  });

  it("holds though onDrain is not done; without it the process ends when onDrain is", async () => {
    const drained = (onDrain: string, deadline: number) => `${httpServer} drainOnSignal(receiver, {
      deadline: ${deadline}, onDrain: ${onDrain}, onDrained: () => console.log("drained") });`;
    await run(drained("() => new Promise(() => {})", 100));
    await terminate();
    await ended();
    expect(child.lines).toEqual(["ready", "drained"]);
    path = folder.at(`${count++}.sock`);
    const waits = `async () => { await new Promise((resolve) => setTimeout(resolve, 20)); console.log("told"); }`;
    await run(drained(waits, 30_000));
    await terminate();
    await ended();
    expect(child.lines).toEqual(["ready", "told", "drained"]);
  });
});

describe("the process", () => {
  it("ends at once by a second signal", async () => {
    await run(`${httpServer} drainOnSignal(receiver);`);
    const { socket } = await client();
    socket.write(get("/slow"));
    await asked(1);
    await terminate();
    child.process.kill("SIGTERM");
    expect(await child.ended).toEqual({ status: null, signal: "SIGTERM" });
  });

  it("exits with its exitCode, whatever keeps it alive; or not, if that is wanted", async () => {
    await run(`${httpServer} setInterval(() => {}, 1000); process.exitCode = 3; drainOnSignal(receiver);`);
    await terminate();
    await ended(3);
    bridge.close();
    path = folder.at(`${count++}.sock`);
    await run(
      `${httpServer} drainOnSignal(receiver, {
         exit: false,
         signals: ["SIGHUP"],
         onDrained: () => setTimeout(() => console.log("later"), 10),
       });`,
    );
    child.process.kill("SIGHUP");
    await bridge.drain();
    await ended();
    expect(child.lines.at(-1)).toBe("later");
  });

  it("drains several receivers, and a server that listens on a port beside", async () => {
    await run(
      `const own = http.createServer(answer);
       await new Promise((resolve) => own.listen(0, "127.0.0.1", resolve));
       console.log(own.address().port);
       const receivers = [
         await attach(own, { path: path + ".own" }),
         await attach(http.createServer(answer), { path }),
       ];
       drainOnSignal(receivers);`,
    );
    const port = Number(child.lines.find((line) => /^\d+$/.test(line)));
    const socket = net.connect(port, "127.0.0.1");
    clients.push(socket);
    socket.write(get("/slow"));
    await asked(1);
    await terminate();
    expect(child.running).toBe(true);
    child.process.kill("SIGUSR2");
    expect(await body(socket)).toContain("done");
    await ended();
  });
});

describe("drainOnSignal", () => {
  const none = {} as Receiver;

  it("wants receivers that a server has", () => {
    expect(() => drainOnSignal(none)).toThrowError(expect.objectContaining({ code: "ERR_OPTION" }));
    expect(() => drainOnSignal([none], { deadline: -1 })).toThrowError(
      expect.objectContaining({ code: "ERR_OPTION", message: expect.stringContaining("deadline is -1") }),
    );
  });

  it("is undone by what it returns", async () => {
    await run(`${httpServer} drainOnSignal(receiver, { signals: ["SIGTERM"] })();
      process.once("SIGTERM", () => console.log("the program's own") ?? process.exit(4));`);
    const { socket, seen } = await client();
    socket.write(get("/"));
    await until("the answer", () => seen.text.includes("at once"));
    child.process.kill("SIGTERM");
    expect(await child.ended).toEqual({ status: 4, signal: null });
    expect(child.lines.at(-1)).toBe("the program's own");
  });
});
