/** A door whose backends take datagrams, with real processes on both sides. */
import { once } from "node:events";
import { readFileSync, rmSync } from "node:fs";
import { basename } from "node:path";
import { connect } from "node:tls";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { askStatus } from "../../src/daemon/control/client.js";
import { native } from "../../src/native/addon.js";
import { isAsleep } from "../support/asleep.js";
import { BackendProcess } from "../support/backend-process.js";
import { type Certificate, certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { sniHandoff } from "../support/command-line.js";
import { openSockets } from "../support/descriptors.js";
import { DoorProcess } from "../support/door-process.js";
import { Folder } from "../support/folder.js";
import { get } from "../support/https-client.js";
import { RawClient } from "../support/raw-client.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";

const folder = new Folder();
let app: Certificate;
let other: Certificate;

beforeAll(async () => {
  app = await certificate("app.example");
  other = await certificate("other.example");
});

/** How many datagrams a queue takes: unix(7). */
const ROOM = Number(readFileSync("/proc/sys/net/unix/max_dgram_qlen", "utf8")) + 1;

let count = 0;
const newPath = () => folder.at(`receiver-${count++}.sock`);
const start = (path: string) => BackendProcess.start({ kind: "https", path, certificate: app, protocol: "datagram" });

describe("a backend of datagrams", () => {
  it("gets connections as if it had accepted them, and the door keeps nothing", async () => {
    const path = newPath();
    const backend = await start(path);
    const door = await DoorProcess.start(
      folder.path,
      `backends: { app: { handoff: ${path}, protocol: datagram } }\nroutes: { app.example: app }\n`,
      { workers: 2 },
    );
    const before = openSockets(door.pid);
    const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => get(door.port, app, `/${i}`)));
    for (const [i, { body, client }] of answers.entries()) {
      expect(body).toMatchObject({ pid: backend.pid, url: `/${i}`, client, serverName: "app.example" });
    }
    await until("the door's sockets of before", () => openSockets(door.pid) === before);
    const counters = await door.stop();
    expect(counters).toMatchObject({ accepted: 100, handed_over: 100, acknowledged: 100, defect: 0, hold_timeout: 0 });
    await backend.stop();
  });

  it("that is not there: clients wait for it, and are served when it comes, and again when it comes back", async () => {
    const path = newPath();
    const door = await DoorProcess.start(
      folder.path,
      `backends: { app: { handoff: ${path}, protocol: datagram, hold: 30s } }\nroutes: { app.example: app }\n`,
    );
    for (let round = 0; round < 3; round++) {
      const from = door.child.lines.length;
      const answers = Array.from({ length: 30 }, (_, i) => get(door.port, app, `/${i}`));
      await until("thirty that wait", () => openSockets(door.pid) >= 30);
      const backend = await start(path);
      for (const { body } of await Promise.all(answers)) expect(body.pid).toBe(backend.pid);
      await door.event("datagram.connected", undefined, from);
      // Killed, it leaves its path behind: nobody receives there.
      if (round === 1) await backend.kill();
      else await backend.stop();
    }
    const counters = await door.stop();
    expect(counters).toMatchObject({ accepted: 90, acknowledged: 90, hello_spent: 0, hold_timeout: 0 });
  });

  it("that does not come within the hold time: the fallback has its clients, or they get an alert", async () => {
    const sorry = folder.at("sorry.sock");
    const fallback = await BackendProcess.start({ kind: "https", path: sorry, certificate: other });
    const door = await DoorProcess.start(
      folder.path,
      `backends:
  app: { handoff: ${newPath()}, protocol: datagram, hold: 100ms, fallback: sorry }
  alone: { handoff: ${newPath()}, protocol: datagram, hold: 100ms }
  sorry: { handoff: ${sorry} }
routes: { other.example: app, app.example: alone }
`,
    );
    await door.instances("sorry", 1);
    expect((await get(door.port, other)).body.pid).toBe(fallback.pid);
    await expect(get(door.port, app)).rejects.toThrow(/alert internal error/);
    const counters = await door.stop();
    expect(counters).toMatchObject({ accepted: 2, acknowledged: 1, fallback: 1, hold_timeout: 1 });
    await fallback.stop();
  });

  it("that takes short hellos only: longer ones go to the fallback unread, or are refused", async () => {
    const sorry = folder.at("long.sock");
    const path = newPath();
    const backend = await start(path);
    const fallback = await BackendProcess.start({ kind: "https", path: sorry, certificate: app });
    const door = await DoorProcess.start(
      folder.path,
      `backends:
  app: { handoff: ${path}, protocol: datagram, maxHello: 2KiB, fallback: sorry }
  alone: { handoff: ${path}, protocol: datagram, maxHello: 512B }
  sorry: { handoff: ${sorry} }
routes: { app.example: app, alone.example: alone }
`,
    );
    await door.instances("sorry", 1);
    const hello = (servername: string, protocols: number) =>
      new Promise<string>((resolve, reject) => {
        const socket = connect({
          host: "127.0.0.1",
          port: door.port,
          servername,
          rejectUnauthorized: false,
          ALPNProtocols: ["http/1.1", ...Array.from({ length: protocols }, (_, i) => `${"x".repeat(100)}${i}`)],
        });
        let text = "";
        socket.setEncoding("utf8");
        socket.on("error", reject);
        socket.on("data", (data) => {
          text += data;
        });
        socket.on("end", () => resolve(text));
        socket.end(`GET / HTTP/1.1\r\nHost: ${servername}\r\nConnection: close\r\n\r\n`);
      });
    expect(await hello("app.example", 0)).toContain(`"pid":${backend.pid}`);
    expect(await hello("app.example", 30)).toContain(`"pid":${fallback.pid}`);
    await expect(hello("alone.example", 30)).rejects.toThrow(/alert internal error/);
    const counters = await door.stop();
    expect(counters).toMatchObject({ accepted: 3, acknowledged: 2, fallback: 1, hello_too_long: 1 });
    await backend.stop();
    await fallback.stop();
  });

  it("can be drained, by its name and by its path's; its clients wait, and go on when it is undrained", async () => {
    const path = newPath();
    const backend = await start(path);
    const control = folder.at("control.sock");
    const door = await DoorProcess.start(
      folder.path,
      `control: ${control}
backends: { app: { handoff: ${path}, protocol: datagram, hold: 60s } }
routes: { app.example: app }
`,
    );
    const ask = (...args: string[]) => sniHandoff([...args, "--control", control]);
    const status = async () => (await askStatus(control)).backends.find(({ name }) => name === "app")!;
    expect(await status()).toMatchObject({ kind: "datagram", held: 0, instances: [{ path, state: "ready", pid: -1 }] });
    for (const target of ["app", `app/${basename(path)}`]) {
      expect(await ask("drain", target)).toMatchObject({ status: 0 });
      const answer = get(door.port, app, `/${target}`);
      await until("the client that waits", async () => (await status()).held === 1);
      expect((await status()).instances[0]!.state).toBe("drained");
      expect(await ask("undrain", target)).toMatchObject({ status: 0 });
      expect((await answer).body.url).toBe(`/${target}`);
    }
    const explained = await sniHandoff(["explain", "app.example", "--config", door.file, "--control", control]);
    expect(explained.stdout).toContain(`datagrams to ${path}, hellos of up to 64KiB`);
    await door.stop();
    await backend.stop();
  });

  it("gets what is no TLS with what has come of it, which is nothing of clients that say nothing", async () => {
    const path = newPath();
    const backend = await BackendProcess.start({ kind: "raw", path, name: "raw", protocol: "datagram" });
    const configuration = `backends: { raw: { handoff: ${path}, protocol: datagram, maxHello: 512B } }
notTls: [{ starts: http, backend: raw }, { backend: raw }]
`;
    const door = await DoorProcess.start(folder.path, configuration, { listener: "deferAccept: 0" });
    const before = openSockets(backend.pid);
    for (const text of ["plain END\n", "GET / HTTP/1.1\r\n\r\nEND\n", `${"long ".repeat(1000)}END\n`]) {
      const client = await RawClient.connect(door.port);
      client.send(Buffer.from(text));
      expect(JSON.parse((await client.reply).received.toString())).toMatchObject({ count: text.length });
      client.close();
    }
    await until("the end of those", () => openSockets(backend.pid) === before);
    door.write(`${configuration}silent: { after: 50ms, backend: raw }\n`);
    expect(await door.reload()).toMatchObject({ event: "reloaded" });
    const silent = await RawClient.connect(door.port);
    await until("its being handed over", () => openSockets(backend.pid) > before);
    silent.send(Buffer.from("END\n"));
    expect(JSON.parse((await silent.reply).received.toString())).toMatchObject({ count: 4 });
    silent.close();
    expect(await door.stop()).toMatchObject({ accepted: 4, acknowledged: 4, silent: 1 });
    await backend.stop();
  });

  it("takes over from one of another protocol by a reload, with those that wait", async () => {
    const path = newPath();
    const settings = (protocol: string) =>
      `backends: { app: { handoff: ${path}, protocol: ${protocol}, hold: 60s } }\nroutes: { app.example: app }\n`;
    const door = await DoorProcess.start(folder.path, settings("handoff"));
    const answers = Array.from({ length: 20 }, (_, i) => get(door.port, app, `/${i}`));
    await until("twenty that wait", () => openSockets(door.pid) >= 20);
    const backend = await start(path);
    door.write(settings("datagram"));
    expect(await door.reload()).toMatchObject({ event: "reloaded" });
    for (const { body } of await Promise.all(answers)) expect(body.pid).toBe(backend.pid);
    expect(await door.stop()).toMatchObject({ accepted: 20, acknowledged: 20, hello_spent: 0 });
    await backend.stop();
  });

  it("has no room during an upgrade: those that wait go on in the new process", async () => {
    const path = newPath();
    const backend = await start(path);
    const door = await DoorProcess.start(
      folder.path,
      `backends: { app: { handoff: ${path}, protocol: datagram, hold: 60s } }\nroutes: { app.example: app }\n`,
    );
    await door.event("datagram.connected");
    backend.signal("SIGSTOP");
    const { pid } = door;
    const idle = openSockets(pid);
    const answers = Array.from({ length: ROOM + 50 }, (_, i) => get(door.port, app, `/${i}`));
    await until(
      "those that the queue has no room for",
      () => openSockets(pid) >= idle + 50 && isAsleep(pid) && openSockets(pid) >= idle + 50,
    );
    expect(await door.upgrade()).toMatchObject({ event: "upgraded" });
    backend.signal("SIGCONT");
    for (const { body } of await Promise.all(answers)) expect(body.pid).toBe(backend.pid);
    expect((await door.stop()).adopted).toBeGreaterThanOrEqual(50);
    await backend.stop();
  });
});

describe("a connection whose hello was read for a datagram that could not be sent", () => {
  /** A socket whose reader has shut it down: it is there and has room, and only sending tells that nobody reads (EPIPE). */
  function deaf(path: string): () => void {
    const descriptor = native.listenUnix(path, "dgram", { backlog: 1 });
    native.shutdown(descriptor, 0);
    return () => {
      native.close(descriptor);
      rmSync(path);
    };
  }

  const configuration = (path: string, more: string) =>
    `backends:\n  app: { handoff: ${path}, protocol: datagram, ${more} }\nroutes: { app.example: app }\n`;

  /** Resolves when the door has read the hello of the client that waits, the only one; or the client has ended since. */
  const isRead = (door: DoorProcess, port: number, isOver: () => boolean) =>
    until("the hello to be read", () => {
      if (isOver()) return true;
      const hex = (number: number) => number.toString(16).toUpperCase().padStart(4, "0");
      // proc(5): local and remote address, state, and behind the colon the bytes that nobody has read.
      const entry = new RegExp(`:${hex(door.port)} [0-9A-F]+:${hex(port)} 01 [0-9A-F]+:(\\S+)`);
      return Number.parseInt(entry.exec(readFileSync("/proc/net/tcp", "latin1"))?.[1] ?? "1", 16) === 0;
    });

  async function waiting(door: DoorProcess): Promise<{ answer: Promise<string>; port: number }> {
    const socket = connect({ host: "127.0.0.1", port: door.port, servername: app.name, ca: app.cert });
    socket.setEncoding("utf8");
    let text = "";
    let isOver = false;
    socket.on("close", () => {
      isOver = true;
    });
    const answer = new Promise<string>((resolve, reject) => {
      socket.on("error", (error) => resolve(error.message));
      socket.on("data", (data) => {
        text += data;
      });
      socket.on("end", () => resolve(text));
      socket.on("close", () => reject(new Error(`closed after ${text}`)));
    });
    socket.write(`GET / HTTP/1.1\r\nHost: ${app.name}\r\nConnection: close\r\n\r\n`);
    await once(socket, "connect");
    const port = socket.localPort!;
    await isRead(door, port, () => isOver);
    return { answer, port };
  }

  it("goes to the next process at the path, hello and all", async () => {
    const path = newPath();
    const close = deaf(path);
    const door = await DoorProcess.start(folder.path, configuration(path, "hold: 60s"));
    const { answer } = await waiting(door);
    close();
    const backend = await start(path);
    expect(await answer).toContain(`"pid":${backend.pid}`);
    expect(await door.stop()).toMatchObject({ accepted: 1, acknowledged: 1, hello_spent: 0 });
    await backend.stop();
  });

  it("or to a fallback that takes datagrams", async () => {
    const [path, other] = [newPath(), newPath()];
    const close = deaf(path);
    const backend = await start(other);
    const more = `hold: 1s, fallback: other }\n  other: { handoff: ${other}, protocol: datagram`;
    const door = await DoorProcess.start(folder.path, configuration(path, more));
    const { answer } = await waiting(door);
    expect(await answer).toContain(`"pid":${backend.pid}`);
    expect(await door.stop()).toMatchObject({ accepted: 1, acknowledged: 1, fallback: 1, hold_timeout: 0 });
    close();
    await backend.stop();
  });

  it("but to no other: it is refused at the end of the hold time", async () => {
    const path = newPath();
    const close = deaf(path);
    const sorry = folder.at("unread.sock");
    const backend = await BackendProcess.start({ kind: "https", path: sorry, certificate: app });
    const more = `hold: 1s, fallback: sorry }\n  sorry: { handoff: ${sorry}`;
    const door = await DoorProcess.start(folder.path, configuration(path, more));
    const { answer } = await waiting(door);
    expect(await answer).toMatch(/alert internal error/);
    expect(await door.stop()).toMatchObject({ accepted: 1, acknowledged: 0, fallback: 0, hold_timeout: 1 });
    close();
    await backend.stop();
  });

  it("or at once, if a reload leads it to a backend that reads hellos itself", async () => {
    const path = newPath();
    const close = deaf(path);
    const sorry = folder.at("unread-too.sock");
    const backend = await BackendProcess.start({ kind: "https", path: sorry, certificate: app });
    const door = await DoorProcess.start(folder.path, configuration(path, "hold: 60s"));
    const { answer } = await waiting(door);
    door.write(`backends: { app: { handoff: ${sorry} } }\nroutes: { app.example: app }\n`);
    expect(await door.reload()).toMatchObject({ event: "reloaded" });
    expect(await answer).toMatch(/alert internal error/);
    expect(await door.stop()).toMatchObject({ accepted: 1, acknowledged: 0, hello_spent: 1 });
    close();
    await backend.stop();
  });

  it("is finished by the process that has read it, in an upgrade", async () => {
    const path = newPath();
    const close = deaf(path);
    const door = await DoorProcess.start(folder.path, configuration(path, "hold: 60s"));
    const { answer } = await waiting(door);
    const from = door.child.lines.length;
    const upgrade = door.upgrade();
    await door.event("ready", undefined, from);
    close();
    const backend = await start(path);
    expect(await answer).toContain(`"pid":${backend.pid}`);
    expect((await upgrade).counters).toMatchObject({ accepted: 1, acknowledged: 1, passed_on: 0 });
    expect(await door.stop()).toMatchObject({ accepted: 0, adopted: 0 });
    await backend.stop();
  });
});

const BURST = 10_000;

describe("10,000 connections while the receiver is stopped for a second or more", () => {
  const hello = Buffer.from(buildHello({ serverName: "app.example" })).toString("hex");
  const client = fileURLToPath(new URL("../fixtures/burst.mjs", import.meta.url));

  /** It is stopped until `isEnough`, too. */
  async function burst(
    hold: string,
    isEnough: (door: DoorProcess, waiting: number) => boolean,
  ): Promise<{ answered: number; refused: number; counters: Record<string, number> }> {
    const path = newPath();
    const backend = await BackendProcess.start({ kind: "raw", path, name: "app", protocol: "datagram" });
    const door = await DoorProcess.start(
      folder.path,
      `backends:
  app: { handoff: ${path}, protocol: datagram, hold: ${hold}, fallback: sorry }
  sorry: { reject: access_denied }
routes: { app.example: app }
`,
      { workers: 2 },
    );
    const before = openSockets(door.pid);
    backend.signal("SIGSTOP");
    const clients = new Child(process.execPath, [client, String(door.port), String(BURST), hello]);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await until("enough to wait", () => !clients.running || isEnough(door, openSockets(door.pid) - before));
    backend.signal("SIGCONT");
    await until("the clients' end", () => !clients.running, 240_000);
    if (clients.lines.length === 0) throw new Error(`the clients failed: ${clients.stderr}`);
    const result = JSON.parse(clients.lines[0]!);
    await until("the door's sockets of before", () => openSockets(door.pid) <= before);
    await until("the backend's connections to be gone", () => openSockets(backend.pid) < 20);
    expect(backend.served.length).toBe(result.answered);
    const counters = await door.stop();
    await backend.stop();
    return { ...result, counters };
  }

  it("are all answered, if they may wait for so long", async () => {
    const { answered, refused, counters } = await burst("60s", (_, waiting) => waiting > BURST / 10);
    expect([answered, refused]).toEqual([BURST, 0]);
    expect(counters).toMatchObject({ accepted: BURST, acknowledged: BURST, rejected: 0, client_gone: 0, defect: 0 });
    expect(counters.held).toBeGreaterThan(BURST / 10);
  });

  it("or are refused by the fallback, and counted", async () => {
    const { answered, refused, counters } = await burst("300ms", ({ child }) =>
      child.lines.some((line) => line.includes('"reason":"rejected"')),
    );
    expect(answered + refused).toBe(BURST);
    expect(Math.min(answered, refused)).toBeGreaterThan(0);
    expect(counters).toMatchObject({ accepted: BURST, acknowledged: answered, fallback: refused, rejected: refused });
    expect(counters).toMatchObject({ client_gone: 0, hold_timeout: 0, hello_spent: 0, defect: 0 });
  });
});
