/** Asking a daemon: what it says, and each way in which there is none to ask. */
import { chmodSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { askStatus, askTo, targetPath } from "../../../src/daemon/control/client.js";
import { createControlServer } from "../../../src/daemon/control/server.js";
import { openControlSocket } from "../../../src/daemon/control/socket.js";
import { native } from "../../../src/native/addon.js";
import { Child } from "../../support/child.js";
import { openDescriptors } from "../../support/descriptors.js";
import { FakeControlled, FakeDaemon } from "../../support/fake-daemon.js";
import { Folder } from "../../support/folder.js";
import { Installed } from "../../support/installed.js";
import { program } from "../../support/programs.js";
import { someBackend, someStatus } from "../../support/some-status.js";
import { until } from "../../support/wait.js";

const folder = new Folder();
let path: string;
let count = 0;
let before: number;

beforeEach(() => {
  path = folder.at(`${count++}.sock`);
  before = openDescriptors().length;
});
afterEach(() => until("descriptors as before", () => openDescriptors().length === before));

const failure = (message: RegExp) =>
  expect.objectContaining({ name: "HandoffError", code: "ERR_CONTROL", message: expect.stringMatching(message) });

async function withDaemon(use: (daemon: FakeDaemon) => Promise<void>): Promise<void> {
  const daemon = await FakeDaemon.start(path);
  try {
    await use(daemon);
  } finally {
    await daemon.stop();
  }
}

/** Another program on the path, which does as it is told with each client. */
async function withOther(serve: (socket: Socket) => void, use: () => Promise<void>): Promise<void> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket.on("error", () => {}));
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  try {
    await use();
  } finally {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
}

const http = (body: string, head = "HTTP/1.1 200 OK\r\nConnection: close") => `${head}\r\n\r\n${body}`;

describe("a daemon that is there", () => {
  test("tells its status, and does what it is told", () =>
    withDaemon(async (daemon) => {
      expect(await askStatus(path)).toEqual(JSON.parse(JSON.stringify(someStatus())));
      expect(await askTo(path, "POST", targetPath("/drain", "a b/ü%.sock"))).toEqual({ ok: true, message: "done" });
      expect(await askTo(path, "PUT", "/log-level", { body: "warn" })).toEqual({ ok: true, message: "done" });
      expect(daemon.controlled.told).toEqual(["drain a b/ü%.sock", "setLogLevel warn"]);
    }));

  test("may refuse: that is an answer", () =>
    withDaemon(async (daemon) => {
      daemon.controlled.answer = { ok: false, message: "no", details: ["because"] };
      expect(await askTo(path, "POST", "/reload")).toEqual(daemon.controlled.answer);
    }));

  test("may have a defect: its message is passed on", () =>
    withDaemon(async (daemon) => {
      daemon.controlled.answer = () => Promise.reject(new Error("boom"));
      await expect(askTo(path, "POST", "/reload")).rejects.toThrowError(
        failure(/^the daemon behind .* answered: the daemon failed to answer: boom$/),
      );
      await expect(askTo(path, "GET", "/new")).rejects.toThrowError(failure(/answered: there is no "\/new"\n {2}GET/));
    }));

  test("listens on an abstract address", async () => {
    const address = `@sni-handoff-client-test-${process.pid}`;
    const controlled = new FakeControlled();
    const server = createControlServer(controlled);
    server.listen({ fd: openControlSocket(address).descriptor });
    expect((await askStatus(address)).version).toBe("1.2.3");
    await new Promise((resolve) => server.close(resolve));
    await expect(askStatus(address)).rejects.toThrowError(failure(/^no daemon runs behind @/));
  });

  test("says nothing that a terminal would obey", () =>
    withDaemon(async (daemon) => {
      const evil = "a\x1b]0;x\x07\x9b31m\u202e\u2028\u0085b\r\tc\ud800";
      daemon.controlled.status_ = someStatus({ backends: [someBackend({ name: evil, counters: { [evil]: 1 } })] });
      const { backends } = await askStatus(path);
      expect(backends[0]!.name).toBe("a?]0;x??31m???b? c?");
      expect(Object.keys(backends[0]!.counters)).toEqual(["a?]0;x??31m???b? c?"]);
      daemon.controlled.answer = { ok: true, message: "two\nlines\x1b[2J", details: ["\x1b[31mred"] };
      expect(await askTo(path, "POST", "/reload")).toEqual({
        ok: true,
        message: "two\nlines?[2J",
        details: ["?[31mred"],
      });
    }));
});

describe("no daemon: what to do is said", () => {
  test("no socket", async () => {
    await expect(askStatus(path)).rejects.toThrowError(
      failure(/^there is no control socket .*: no daemon runs, or it has another one; give its path with --control/),
    );
    await expect(askStatus(`${path}/a/b`)).rejects.toThrowError(failure(/^there is no control socket/));
  });

  test("a socket that a dead one left", async () => {
    native.close(openControlSocket(path).descriptor);
    await expect(askStatus(path)).rejects.toThrowError(failure(/^no daemon runs behind .*: start it/));
  });

  test("a file, a folder", async () => {
    writeFileSync(path, "");
    await expect(askStatus(path)).rejects.toThrowError(failure(/is not a socket; give its path/));
    await expect(askStatus(folder.path)).rejects.toThrowError(failure(/is not a socket; give its path/));
  });

  test("an instance's socket", async () => {
    const instance = native.listenUnix(path, "seqpacket", { backlog: 1 });
    await expect(askStatus(path)).rejects.toThrowError(
      failure(/is no control socket of sni-handoff: it is a unix socket of another type$/),
    );
    native.close(instance);
  });

  test("a path that is too long", async () => {
    await expect(askStatus(`/tmp/${"x".repeat(200)}`)).rejects.toThrowError(
      failure(/too long for a socket: at most 107/),
    );
  });

  test.runIf(process.getuid?.() === 0)("no permission", () =>
    withDaemon(async () => {
      chmodSync(folder.path, 0o755);
      // This project's own folder may not be for everybody either.
      const client = join(new Installed(folder.path).folder, "dist/daemon/control/client.js");
      const asking = new Child(program("setpriv"), [
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        process.execPath,
        "--input-type=module",
        "-e",
        `import { askStatus } from ${JSON.stringify(client)};
         askStatus(${JSON.stringify(path)}).catch((error) => console.log(error.code, error.message));`,
      ]);
      await asking.ended;
      expect(asking.lines).toEqual([
        `ERR_CONTROL no permission to use ${path}: be root, its owner, or in its group (ls -l ${path})`,
      ]);
    }),
  );
});

describe("something else that listens there", () => {
  const other = "is no control socket of sni-handoff: ";

  test("and never answers", () =>
    withOther(
      () => {},
      async () => {
        await expect(askStatus(path, { timeout: 100 })).rejects.toThrowError(
          failure(/^the daemon behind .* did not answer within 0\.1 s; its log may say why$/),
        );
      },
    ));

  test("and never ends its answer", () =>
    withOther(
      (socket) => socket.write(http("{")),
      async () => {
        await expect(askStatus(path, { timeout: 100 })).rejects.toThrowError(failure(/did not answer within 0\.1 s/));
      },
    ));

  test.each([
    ["hangs up", "", "closed the connection without an answer"],
    ["speaks no HTTP", "220 mail ready\r\n", `${other}it does not speak HTTP`],
    ["answers a page", http("<html>"), `${other}its answer is no JSON`],
    ["answers a number", http("1"), `${other}its answer is no JSON`],
    ["answers other JSON", http('{"a":1}'), `${other}its status is none`],
    ["answers a list", http("[]"), `${other}its status is none`],
    ["has no such page", http('{"error":1}', "HTTP/1.1 404 X"), `${other}it answered with status 404`],
    ["is of another version", http('{"version":"9.0.0","state":"x"}'), "is of another version: 9.0.0"],
    ["cuts its answer", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "closed the connection|aborted"],
  ])("and %s", (_what, bytes, message) =>
    withOther(
      (socket) => socket.once("data", () => socket.end(bytes)),
      async () => {
        await expect(askStatus(path)).rejects.toThrowError(failure(new RegExp(message)));
      },
    ),
  );

  test("a status with parts missing is none", async () => {
    for (const part of [
      "state",
      "counters",
      "workers",
      "backends",
      "listeners",
      "privileges",
      "configuration",
      "relay",
    ]) {
      const { version: _, ...status } = { ...someStatus(), [part]: null };
      await withOther(
        (socket) => socket.once("data", () => socket.end(http(JSON.stringify(status)))),
        async () => {
          await expect(askStatus(path)).rejects.toThrowError(failure(/its status is none/));
        },
      );
    }
  });
});
