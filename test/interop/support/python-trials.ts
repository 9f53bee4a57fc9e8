/** What each program of examples/python must stand: what every receiver must, and what is its own. */
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { get } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { ADDRESS_BYTES, type Address, writeAddress } from "../../../src/addresses.js";
import { body } from "../../support/body.js";
import { Bridge } from "../../support/bridge.js";
import { type Certificate, certificate } from "../../support/certificates.js";
import { ManagerProcess } from "../../support/manager-process.js";
import { Scene } from "../../support/scene.js";
import { until } from "../../support/wait.js";
import { Curls } from "./curls.js";
import { pythonExample } from "./python.js";
import { ReceiverProcess } from "./receiver-process.js";
import { type ReceiverProgram, receiverTrials } from "./receiver-trials.js";

const told: Address = { family: "IPv6", address: "2001:db8::7", port: 56324 };

let own: Certificate;
let folder: string;
let files: { socket: string; cert: string; key: string };
let running: ReceiverProcess[];
let bridge: Bridge | undefined;

beforeAll(async () => {
  own = await certificate("app.test");
});

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-"));
  files = { socket: join(folder, "app.sock"), cert: join(folder, "cert.pem"), key: join(folder, "key.pem") };
  writeFileSync(files.cert, own.cert);
  writeFileSync(files.key, own.key);
  running = [];
});

afterEach(async () => {
  for (const each of running) await each.kill();
  bridge?.close();
  bridge = undefined;
  rmSync(folder, { recursive: true });
});

async function start(program: ReceiverProgram, socket = files.socket): Promise<ReceiverProcess> {
  const receiver = await ReceiverProcess.start(program, { ...files, socket });
  running.push(receiver);
  return receiver;
}

/** What is answered to the next connection. */
async function ask({ port, deliver }: { port: number; deliver: () => Promise<void> }): Promise<string> {
  const at = { port, host: "127.0.0.1", servername: own.name, ca: own.cert, agent: false };
  const response = once(get(at), "response");
  await deliver();
  return body((await response)[0]);
}

/** Declares all of it as tests; `file` is the program's. */
export function pythonTrials(file: string): void {
  const program: ReceiverProgram = {
    name: file,
    command: ({ socket, cert, key }) => [...pythonExample(file), socket, cert, key],
  };
  receiverTrials(program);

  it("sees the client that a PROXY header told the door", async () => {
    await start(program);
    bridge = await Bridge.open(files.socket);
    const client = new Uint8Array(ADDRESS_BYTES);
    writeAddress(told, client, 0);
    const { port } = bridge;
    const answer = await ask({ port, deliver: () => bridge!.deliver({ flags: 1, consumed: 52, client }) });
    expect(answer).toBe("hello from python: [2001:db8::7]:56324\n");
  });

  it("its path: mode 0660; another process is told who has it; it is gone after the end in order", async () => {
    const first = await start(program);
    expect((statSync(files.socket).mode & 0o777).toString(8)).toBe("660");
    await expect(start(program)).rejects.toThrow(`${files.socket} is in use by process ${first.child.pid}; stop it`);
    expect(await first.stop()).toEqual({ status: 0, signal: null });
    expect(existsSync(files.socket)).toBe(false);
  });

  it("takes the socket that the service manager holds, and leaves it there", async () => {
    const service = program.command(files);
    const manager = await ManagerProcess.start({ path: files.socket, service });
    try {
      bridge = await Bridge.open(files.socket);
      const { port } = bridge;
      expect(await ask({ port, deliver: () => bridge!.deliver() })).toMatch(/^hello from python: 127\.0\.0\.1:/);
      manager.stopService();
      await bridge.drain();
      await until("its end", () => manager.ends.length === 1);
      expect(manager.ends).toEqual([{ status: 0, signal: null }]);
      expect(existsSync(files.socket)).toBe(true);
    } finally {
      await manager.end();
    }
  });

  it("several processes share a folder, and one after another is restarted under load", async () => {
    const pool = join(folder, "pool/");
    mkdirSync(pool, { mode: 0o755 });
    const processes = [await start(program, pool), await start(program, pool)];
    const scene = new Scene();
    try {
      const configuration = `backends: { app: { handoff: "${pool}", hold: 20s } }\nroutes: { ${own.name}: app }\n`;
      const door = await scene.startDoor(configuration, { channels: 2 });
      const curls = new Curls({ port: door.port, name: own.name, certificateFile: files.cert, requests: 480 });
      for (const [i, each] of processes.entries()) {
        await curls.passed(80 + 120 * i);
        expect(await each.stop()).toEqual({ status: 0, signal: null });
        await start(program, pool);
      }
      const asked = await curls.done();
      expect(asked.filter(({ client, body }) => body !== `hello from python: ${client}`)).toEqual([]);
      expect(await scene.counters()).toMatchObject({ accepted: 480, acknowledged: 480, lost_after_read: 0 });
    } finally {
      await scene.end();
    }
  });
}
