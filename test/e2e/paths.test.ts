/** What may be wrong with an instance's path: the log says which, the door goes on trying, and nobody is lost. */
import { chmodSync, mkdirSync, rmdirSync, unlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { basename, dirname } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { native } from "../../src/native/addon.js";
import { program } from "../support/programs.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";

const helloTo = (name: string) => Buffer.concat([buildHello({ serverName: name }), Buffer.from("END\n")]);

/** A thing in the way, and its removal. */
interface Obstacle {
  readonly what: string;
  readonly code: string;
  /** What the log says; PATH stands for the path. */
  readonly says: string;
  put(path: string): unknown;
  remove(path: string): unknown;
  /** The backend is there already. */
  readonly isServed?: true;
}

/** Root may do anything unless it is without these. */
const withoutPrivilege =
  process.getuid!() === 0
    ? [program("setpriv"), "--inh-caps=-dac_override,-dac_read_search", "--bounding-set=-dac_override,-dac_read_search"]
    : [];
const notPermitted =
  "not permitted to connect to PATH: the door's user needs write permission on it and search permission on its folders";

const servers = new Map<string, Server>();
const datagrams = new Map<string, number>();

const obstacles: readonly Obstacle[] = [
  {
    what: "nothing there",
    code: "ENOENT",
    says: "no instance yet: PATH does not exist; tried again every second",
    put: () => {},
    remove: () => {},
  },
  {
    what: "no folder",
    code: "ENOENT",
    says: "no instance yet: PATH does not exist; tried again every second",
    put: (path) => rmdirSync(dirname(path)),
    remove: (path) => mkdirSync(dirname(path)),
  },
  {
    what: "a regular file",
    code: "ECONNREFUSED",
    says: "PATH is not a socket; tried again every second",
    put: (path) => writeFileSync(path, ""),
    remove: unlinkSync,
  },
  {
    what: "a folder",
    code: "ECONNREFUSED",
    says: "PATH is not a socket; tried again every second",
    put: (path) => mkdirSync(path),
    remove: rmdirSync,
  },
  {
    what: "a file in place of its folder",
    code: "ENOTDIR",
    says: "cannot connect to PATH: ",
    put: (path) => {
      rmdirSync(dirname(path));
      writeFileSync(dirname(path), "");
    },
    remove: (path) => {
      unlinkSync(dirname(path));
      mkdirSync(dirname(path));
    },
  },
  {
    what: "a socket that nobody listens on",
    code: "ECONNREFUSED",
    says: "nobody listens on PATH; tried again every second",
    put: (path) => native.close(native.listenUnix(path, "seqpacket", { backlog: 1 })),
    remove: () => {}, // the backend's library takes its place
  },
  {
    what: "a stream socket",
    code: "EPROTOTYPE",
    says: "PATH is a unix socket of another type: instances listen on SOCK_SEQPACKET",
    put: (path) => new Promise<void>((resolve) => servers.set(path, createServer().listen(path, resolve))),
    remove: (path) => new Promise((resolve) => servers.get(path)!.close(resolve)),
  },
  {
    what: "a datagram socket",
    code: "EPROTOTYPE",
    says: "PATH is a unix socket of another type: instances listen on SOCK_SEQPACKET",
    put: (path) => datagrams.set(path, native.listenUnix(path, "dgram", { backlog: 1 })),
    remove: (path) => {
      native.close(datagrams.get(path)!);
      unlinkSync(path);
    },
  },
  {
    what: "a socket that the door may not write to",
    code: "EACCES",
    says: notPermitted,
    put: async (path) => {
      await scene.backend({ kind: "raw", path, name: basename(dirname(path)) });
      chmodSync(path, 0);
    },
    remove: (path) => chmodSync(path, 0o660),
    isServed: true,
  },
  {
    what: "a folder that the door may not search",
    code: "EACCES",
    says: notPermitted,
    put: (path) => chmodSync(dirname(path), 0o600),
    remove: (path) => chmodSync(dirname(path), 0o755),
  },
];

const name = ({ what }: Obstacle) => what.replaceAll(" ", "-");
const unreachable = (path: string) =>
  scene.door.log.filter((line) => line.event === "instance.unreachable" && line.path === path);
let scene: Scene;
/** Each path in a folder of its own. */
const pathOf = (obstacle: Obstacle) => `${scene.folder}/${name(obstacle)}/app.sock`;

describe("a path with", () => {
  beforeAll(async () => {
    scene = new Scene();
    for (const obstacle of obstacles) {
      mkdirSync(dirname(pathOf(obstacle)));
      await obstacle.put(pathOf(obstacle));
    }
    const backends = obstacles.map((each) => `  ${name(each)}: { handoff: "${pathOf(each)}", hold: 10m }\n`);
    const routes = obstacles.map((each) => `  ${name(each)}.test: ${name(each)}\n`);
    await scene.startDoor(`backends:\n${backends.join("")}routes:\n${routes.join("")}`, {
      workers: 2,
      prefix: withoutPrivilege,
    });
  });

  afterAll(async () => {
    expect(await scene.door.stop()).toMatchObject({ acknowledged: obstacles.length, client_gone: 0, defect: 0 });
    await scene.end();
  });

  it.each(obstacles)("$what: one line says so, and the client that waits is served by who comes", async (obstacle) => {
    const path = pathOf(obstacle);
    const client = await scene.client(helloTo(`${name(obstacle)}.test`));
    const [line] = await until("the log's line", () => unreachable(path).length > 0 && unreachable(path));
    expect(line).toMatchObject({ level: "warn", backend: name(obstacle), path, code: obstacle.code });
    expect(line!.message).toContain(obstacle.says.replace("PATH", path));
    await obstacle.remove(path);
    if (!obstacle.isServed) await scene.backend({ kind: "raw", path, name: name(obstacle) });
    const { received } = await client.reply;
    expect(JSON.parse(received.toString())).toMatchObject({
      name: name(obstacle),
      serverName: `${name(obstacle)}.test`,
    });
    expect(unreachable(path).filter(({ message }) => message === line!.message)).toHaveLength(1);
  });
});

describe("a pool whose folder", () => {
  beforeEach(() => {
    scene = new Scene();
  });

  afterEach(() => scene.end());

  it.each([
    {
      what: "is missing",
      code: "ENOENT",
      says: "no instance yet: PATH does not exist; looked for again every second",
      put: () => {},
      remove: (path: string) => mkdirSync(path, { mode: 0o755 }),
    },
    {
      what: "is a file",
      code: "ENOTDIR",
      says: "PATH is not a folder; looked at again every second",
      put: (path: string) => writeFileSync(path, ""),
      remove: (path: string) => {
        unlinkSync(path);
        mkdirSync(path, { mode: 0o755 });
      },
    },
    {
      what: "may not be read by the door",
      code: "EACCES",
      says: "not permitted to read PATH: the door's user needs read and search permission on it",
      put: (path: string) => mkdirSync(path, { mode: 0 }),
      remove: (path: string) => chmodSync(path, 0o755),
    },
  ])(
    "$what: one line says so, and the client that waits is served by who comes",
    async ({ code, says, put, remove }) => {
      const path = `${scene.folder}/pool`;
      put(path);
      await scene.startDoor(`backends: { app: { handoff: "${path}/", hold: 10m } }\nroutes: { app.test: app }\n`, {
        prefix: withoutPrivilege,
      });
      const client = await scene.client(helloTo("app.test"));
      const lines = () => unreachable(`${path}/`);
      const [line] = await until("the log's line", () => lines().length > 0 && lines());
      expect(line).toMatchObject({ level: "warn", backend: "app", code });
      expect(line!.message).toBe(says.replace("PATH", `${path}/`));
      remove(path);
      await scene.backend({ kind: "raw", path: `${path}/`, name: "app" });
      const { received } = await client.reply;
      expect(JSON.parse(received.toString())).toMatchObject({ name: "app" });
      expect(lines().filter(({ message }) => message === line!.message)).toHaveLength(1);
    },
  );
});
