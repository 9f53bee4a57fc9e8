/** A thousand clients at once, a hundred names, each with a certificate of its own: every answer is the right one's. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { BackendProcess } from "../support/backend-process.js";
import { type Certificate, certificate } from "../support/certificates.js";
import { openSockets } from "../support/descriptors.js";
import { DoorProcess } from "../support/door-process.js";
import { askAndStay, type KeptOpen } from "../support/kept-open.js";
import { until } from "../support/wait.js";

const NAMES = 100;
const CLIENTS = 1000;
const WORKERS = 2;

/** Backends of one process, and pools of two; names go to them in turn. */
const layout = [
  { name: "single-a", kind: "https", instances: 1 },
  { name: "single-b", kind: "http2", instances: 1 },
  { name: "single-c", kind: "https", instances: 1 },
  { name: "pool-a", kind: "https", instances: 2 },
  { name: "pool-b", kind: "http2", instances: 2 },
] as const;

interface Backend {
  readonly name: string;
  readonly path: string;
  readonly sites: Certificate[];
  readonly processes: BackendProcess[];
}

let folder: string;
let door: DoorProcess;
let backends: Backend[];
let sites: { certificate: Certificate; backend: Backend }[];
let open: KeptOpen[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-parallel-"));
  open = [];
  backends = layout.map(({ name, instances }) => ({
    name,
    path: instances > 1 ? `${folder}/${name}/` : `${folder}/${name}.sock`,
    sites: [],
    processes: [],
  }));
  const made = await Promise.all(Array.from({ length: NAMES }, (_, i) => certificate(`site-${i}.test`)));
  sites = made.map((each, i) => ({ certificate: each, backend: backends[i % backends.length]! }));
  for (const { certificate: each, backend } of sites) backend.sites.push(each);
  await Promise.all(
    layout.flatMap(({ name, kind, instances }, i) => {
      const backend = backends[i]!;
      if (instances > 1) mkdirSync(backend.path, { mode: 0o755 });
      return Array.from({ length: instances }, async () => {
        const { path, sites: certificates } = backend;
        backend.processes.push(await BackendProcess.start({ kind, path, name, certificates }));
      });
    }),
  );
  door = await DoorProcess.start(
    folder,
    `backends:\n${backends.map(({ name, path }) => `  ${name}: { handoff: "${path}", hold: 60s, acknowledgeTimeout: 60s }\n`).join("")}` +
      `routes:\n${sites.map((site) => `  ${site.certificate.name}: ${site.backend.name}\n`).join("")}`,
    { workers: WORKERS },
  );
  const channels = backends.flatMap(({ processes }) => processes).length * WORKERS;
  await until("all channels", () => door.log.filter((line) => line.event === "channel.ready").length === channels);
});

afterEach(async () => {
  for (const connection of open) connection.close();
  for (const { processes } of backends) for (const backend of processes) await backend.kill();
  if (door?.child.running) await door.kill();
  rmSync(folder, { recursive: true });
});

const allProcesses = () => backends.flatMap(({ processes }) => processes);
const socketsOfBackends = () => allProcesses().map(({ pid }) => openSockets(pid));
const sum = (numbers: readonly number[]) => numbers.reduce((total, each) => total + each, 0);

it("1,000 clients of 100 names, all connected at once", async () => {
  const idle = { door: openSockets(door.pid), backends: socketsOfBackends() };
  const asked = Array.from({ length: CLIENTS }, (_, i) => ({ ...sites[i % NAMES]!, path: `/${i}` }));
  open = await Promise.all(asked.map((each) => askAndStay(door.port, each.certificate, each.path)));

  for (const [i, { certificate: own, backend, path }] of asked.entries()) {
    const { fingerprint, client, body } = open[i]!;
    expect(fingerprint).toBe(own.fingerprint);
    expect(backend.processes.map(({ pid }) => pid)).toContain(body.pid);
    expect(body).toMatchObject({ name: backend.name, url: path, client, serverName: own.name, alpn: "http/1.1" });
  }
  expect(new Set(open.map(({ client }) => client)).size).toBe(CLIENTS);
  expect(new Set(open.map(({ body }) => body.connectionId)).size).toBe(CLIENTS);

  // All of them are open at the backends, and the door has nothing to do with them any more.
  expect(sum(socketsOfBackends())).toBe(sum(idle.backends) + CLIENTS);
  await until("the door's descriptors to be as before", () => openSockets(door.pid) === idle.door);

  const said = () => sum(allProcesses().map(({ served }) => served.length));
  await until("the backends' lines", () => said() === CLIENTS);
  // A pool's instances take turns, in each of the workers.
  for (const { processes, sites: own } of backends) {
    const clients = (own.length * CLIENTS) / NAMES;
    for (const { served } of processes) expect(served.length).toBeGreaterThanOrEqual(clients / processes.length / 2);
  }

  for (const connection of open) connection.close();
  await until("the backends' descriptors to be as before", () => `${socketsOfBackends()}` === `${idle.backends}`);
  expect(await door.stop()).toMatchObject({
    accepted: CLIENTS,
    acknowledged: CLIENTS,
    redelivered: 0,
    lost_after_read: 0,
    client_gone: 0,
    defect: 0,
  });
});
