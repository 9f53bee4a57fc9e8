/** examples/container: a backend with its own files, processes and network, which shares a folder with the front door. */
import { execFile } from "node:child_process";
import { chmodSync, chownSync, copyFileSync, mkdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { type Certificate, certificate } from "../support/certificates.js";
import { program } from "../support/programs.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";
import { buildGo } from "./support/go-build.js";
import { ReceiverProcess, type ReceiverProgram } from "./support/receiver-process.js";
import { restartedUnderLoad, tenThousand } from "./support/receiver-trials.js";

const container = fileURLToPath(new URL("../../examples/container/container.sh", import.meta.url));
/** A user of the host that has no name, as root of a user namespace is. */
const SOMEBODY = 100_000;
const asSomebody = ["setpriv", `--reuid=${SOMEBODY}`, `--regid=${SOMEBODY}`, "--clear-groups", "--"];

const ownPids = ["unshare", "--pid", "--fork", "--kill-child", "--"];
const nodeExample: ReceiverProgram = {
  name: "examples/node-https",
  command: ({ socket, cert, key }) => [
    process.execPath,
    fileURLToPath(new URL("../../examples/node-https/server.mjs", import.meta.url)),
    ...[cert, key, socket],
  ],
  listening: /^receiving on /m,
};

let scene: Scene;
let app: Certificate;
let binary: string;
let backends: ReceiverProcess[];

beforeAll(() => {
  binary = buildGo("https");
});

beforeEach(async () => {
  scene = new Scene();
  app = await certificate("app.test");
  backends = [];
});

afterEach(async () => {
  for (const backend of backends) await backend.kill();
  await scene.end();
});

/** examples/go in a container whose root folder has nothing else. The socket's folder has the certificate, too. */
function inContainer(root: string, prefix: readonly string[] = []): ReceiverProgram {
  mkdirSync(root, { recursive: true });
  copyFileSync(binary, `${root}/https`);
  // Where anybody can reach it.
  const script = `${scene.folder}/container.sh`;
  copyFileSync(container, script);
  return {
    name: "a container",
    command: ({ socket }) => {
      const command = ["/https", "/run/app/app.sock", "/run/app/cert.pem", "/run/app/key.pem"];
      return [...prefix, script, root, dirname(socket), ...command];
    },
  };
}

/** The folder that is shared, and the certificate in it; all of it `owner`'s. */
function shared(owner: number): { socket: string; cert: string; key: string } {
  const folder = `${scene.folder}/app`;
  mkdirSync(folder);
  const files = { socket: `${folder}/app.sock`, cert: `${folder}/cert.pem`, key: `${folder}/key.pem` };
  writeFileSync(files.cert, app.cert);
  writeFileSync(files.key, app.key, { mode: 0o600 });
  for (const path of [folder, files.cert, files.key]) chownSync(path, owner, owner);
  return files;
}

async function start(receiver: ReceiverProgram, files: ReturnType<typeof shared>): Promise<ReceiverProcess> {
  const backend = await ReceiverProcess.start(receiver, files);
  backends.push(backend);
  return backend;
}

/** What a client is told that asks from 127.0.0.7, and its own address and port. */
async function ask(certificateFile: string): Promise<{ told: string; client: string }> {
  const { port } = scene.door;
  const { stdout } = await promisify(execFile)(program("curl"), [
    ...["--silent", "--show-error", "--interface", "127.0.0.7", "--resolve", `app.test:${port}:127.0.0.1`],
    ...["--cacert", certificateFile, "--write-out", "%{local_ip}:%{local_port}", `https://app.test:${port}/`],
  ]);
  const [told, client] = stdout.split("\n") as [string, string];
  return { told, client };
}

/** The process in the container, as this machine numbers it. */
function inside(backend: ReceiverProcess): number {
  return backend.pids.find((pid) => readFileSync(`/proc/${pid}/comm`, "utf8") === "https\n")!;
}

it("has the client's address, and no network", async () => {
  const files = shared(0);
  const backend = await start(inContainer(`${scene.folder}/root`), files);
  await scene.startDoor(`backends: { app: { handoff: "${files.socket}" } }\ndefault: app\n`, { channels: 1 });
  const pid = inside(backend);
  for (const namespace of ["mnt", "pid", "net"]) {
    const of = (process: number | "self") => readlinkSync(`/proc/${process}/ns/${namespace}`);
    expect(of(pid)).not.toBe(of("self"));
  }
  // proc_pid_status(5): its number here, and the one in its own namespace.
  expect(/^NSpid:\t(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]).toBe(`${pid}\t1`);
  // Nothing but a loopback interface that is down: it could not be connected to.
  expect(readFileSync(`/proc/${pid}/net/dev`, "utf8").trim().split("\n").slice(2)).toEqual([
    expect.stringMatching(/^ *lo: +0 /),
  ]);

  const { told, client } = await ask(files.cert);
  expect(client).toMatch(/^127\.0\.0\.7:/);
  expect(told).toBe(`hello from go: ${client}`);
  // The kernel has translated the number of the process that said READY.
  expect(await scene.door.event("channel.ready")).toMatchObject({ pid });
});

it("serves many clients", () => tenThousand(besideDoor(), 2000));

it("is killed, and restarted, under load: no client notices", () => restartedUnderLoad(besideDoor()));

/** For the trials, which make the shared folder themselves. */
function besideDoor(): ReceiverProgram {
  return inContainer(`${scene.folder}/root`);
}

it("with a user namespace: its root owns the socket that it makes", async () => {
  const files = shared(SOMEBODY);
  const root = `${scene.folder}/root`;
  const receiver = inContainer(root, asSomebody);
  // The folder in /tmp stays root's: where a stranger could have made it first, owning a path proves nothing.
  chmodSync(scene.folder, 0o711);
  chownSync(root, SOMEBODY, SOMEBODY);
  const backend = await start(receiver, files);
  expect(
    readFileSync(`/proc/${inside(backend)}/uid_map`, "utf8")
      .trim()
      .split(/ +/),
  ).toEqual(["0", `${SOMEBODY}`, "1"]);
  await scene.startDoor(`backends: { app: { handoff: "${files.socket}" } }\ndefault: app\n`, { channels: 1 });
  const { told, client } = await ask(files.cert);
  expect(told).toBe(`hello from go: ${client}`);
});

it("with a user namespace and a socket of somebody else's: only whom the configuration names", async () => {
  const files = shared(SOMEBODY);
  const root = `${scene.folder}/root`;
  const receiver = inContainer(root, asSomebody);
  for (const path of [scene.folder, root]) chownSync(path, SOMEBODY, SOMEBODY);
  await start(receiver, files);
  chownSync(files.socket, 4711, 4711); // as where a mount translates owners
  const backend = `handoff: "${files.socket}"`;
  await scene.startDoor(`backends: { app: { ${backend} } }\ndefault: app\n`);
  const refused = await scene.door.event("channel.violation");
  expect(refused.message).toContain(`READY from user ${SOMEBODY}, who may not serve ${files.socket}`);
  scene.door.write(`backends: { app: { ${backend}, user: ${SOMEBODY} } }\ndefault: app\n`);
  expect(await scene.door.reload()).toMatchObject({ event: "reloaded" });
  await until("the channel", () => scene.door.log.some(({ event }) => event === "channel.ready"));
  const { told, client } = await ask(files.cert);
  expect(told).toBe(`hello from go: ${client}`);
});

it("a second one at the path says that another has it, which has no number where it is", async () => {
  const files = shared(0);
  await start(inContainer(`${scene.folder}/root`), files);
  const second = start(inContainer(`${scene.folder}/second`), files);
  await expect(second).rejects.toThrow(
    "cannot listen on /run/app/app.sock: it is in use by a process of another pid namespace; stop it",
  );
  // The Node library, among the host's files.
  const third = start({ ...nodeExample, command: (at) => [...ownPids, ...nodeExample.command(at)] }, files);
  await expect(third).rejects.toThrow(`${files.socket} is in use by a process of another pid namespace; stop it`);
});
