/** A hostile user of the machine, who connects to every socket that the program makes. */
import { chmodSync, mkdirSync, readFileSync } from "node:fs";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { BackendProcess } from "../support/backend-process.js";
import { type Certificate, certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { openSockets } from "../support/descriptors.js";
import { Folder } from "../support/folder.js";
import { get } from "../support/https-client.js";
import { program } from "../support/programs.js";
import { RelayScene } from "../support/relay-scene.js";
import { until } from "../support/wait.js";
import { textOf } from "./support/http.js";
import { compileFixture } from "./support/programs.js";

/** Debian's "daemon": neither the door's user nor a backend's. */
const STRANGER = 1;

const folder = new Folder();
let strangerProgram: string;
let scene: RelayScene;
let app: Certificate;
let abstract: BackendProcess | undefined;
const strangers: Child[] = [];

beforeAll(() => {
  strangerProgram = compileFixture("stranger", folder.path);
  chmodSync(folder.path, 0o755);
});

beforeEach(async () => {
  scene = new RelayScene();
  chmodSync(scene.folder, 0o755);
  mkdirSync(`${scene.folder}/pool`, { mode: 0o755 });
  app = await certificate("app.test");
});

afterEach(async () => {
  for (const stranger of strangers.splice(0)) await stranger.end("SIGKILL");
  await abstract?.kill();
  abstract = undefined;
  await scene.end();
});

function stranger(...command: readonly string[]): Child {
  const who = [`--reuid=${STRANGER}`, `--regid=${STRANGER}`, "--clear-groups", "--no-new-privs", "--"];
  const child = new Child(program("setpriv"), [...who, strangerProgram, ...command]);
  strangers.push(child);
  return child;
}

/** Unix sockets below a folder that somebody listens on: proc_pid_net(5), flag 0x10000 (__SO_ACCEPTCON). */
function listeningBelow(folder: string): string[] {
  return readFileSync("/proc/net/unix", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[7]?.startsWith(`${folder}/`) && (Number.parseInt(fields[3]!, 16) & 0x10000) !== 0)
    .map((fields) => fields[7]!)
    .sort();
}

const name = () => `@sni-handoff-test-${process.pid}`;

/** A door with everything: backends of each kind, its relay, the control socket, and metrics. */
async function startEverything(): Promise<string> {
  const origin = await scene.origin(await certificate("relayed.test"));
  await scene.backend({ kind: "https", path: scene.at("app"), certificate: app });
  await scene.backend({ kind: "https", path: `${scene.folder}/pool/`, certificate: app });
  abstract = await BackendProcess.start({ kind: "https", path: name(), certificate: app, allowedUsers: [0] });
  await scene.startRelaying(
    `metrics: { address: "127.0.0.1:0" }
backends:
  app: { handoff: "${scene.at("app")}" }
  pool: { handoff: "${scene.folder}/pool/" }
  abstract: { handoff: "${name()}" }
  relayed: { relay: "${origin.target}" }
routes: { app.test: abstract, pool.test: pool, direct.test: app, relayed.test: relayed }
`,
    ["app", "pool", "abstract", "relayed"],
  );
  const { metrics } = JSON.parse(await overControl("/status"));
  return metrics as string;
}

const overControl = (path: string) => textOf({ socketPath: `${scene.folder}/control.sock`, path });

describe.runIf(process.getuid!() === 0)("a stranger", () => {
  it("may connect to no socket with a path, whatever its type", async () => {
    await startEverything();
    const sockets = listeningBelow(scene.folder);
    // app, pool, control, and of the relay its own control socket and one of each worker.
    expect(sockets.length).toBeGreaterThanOrEqual(5);
    expect(sockets.filter((path) => path.includes("/control.relay/"))).not.toEqual([]);
    const tried = stranger("try", ...sockets);
    expect(await tried.ended, tried.stderr).toEqual({ status: 0, signal: null });
    const none = { stream: "EACCES", seqpacket: "EACCES", dgram: "EACCES" };
    expect(tried.lines.map((line) => JSON.parse(line))).toEqual(sockets.map((address) => ({ address, ...none })));
    console.log(`${sockets.length} sockets with 3 types each: EACCES`);
  });

  it("may connect to an abstract address, which has no mode: with allowedUsers he is turned away, and others are served", async () => {
    await startEverything();
    const idle = openSockets(abstract!.pid);
    const holding = stranger("hold", "seqpacket", name(), "300");
    for (let round = 0; round < 3; round++) {
      const { held, ended } = await holding.line(
        "a round",
        (line) => JSON.parse(line) as { held: number; ended: number },
        round,
      );
      expect(held).toBeGreaterThan(0);
      expect(ended).toBeGreaterThan(0);
      expect((await get(scene.door.port, app)).status).toBe(200);
    }
    // Told once, whatever he does.
    expect(abstract!.child.stderr.split("may not be a door").length).toBe(2);
    await holding.end("SIGKILL");
    await until("his descriptors to be gone", () => openSockets(abstract!.pid) <= idle);
  });

  it("may keep the metrics' port busy: the door serves on, and tells its metrics on the control socket", async () => {
    const address = await startEverything();
    const [host, port] = [address.split(":")[0]!, Number(address.split(":")[1])];
    const scraped = () => textOf({ host, port, path: "/metrics" });
    expect(await scraped()).toContain("sni_handoff_");
    const idle = openSockets(scene.door.pid);
    const holding = stranger("hold", "stream", address, "200");
    for (let round = 0; round < 3; round++) {
      await holding.line("a round", (line) => line.startsWith("{"), round);
      expect(openSockets(scene.door.pid) - idle).toBeLessThan(40);
      expect((await get(scene.door.port, app)).status).toBe(200);
      expect(await overControl("/metrics")).toContain("sni_handoff_");
    }
    await holding.end("SIGKILL");
    await until("the metrics' port to answer again", async () => (await scraped().catch(() => "")) !== "");
  });
});
