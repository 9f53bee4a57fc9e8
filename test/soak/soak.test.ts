/** Everything at once, for as long as it is told: reloads, upgrades, restarts, slow clients, floods, relay and handoff. */
import { cpus, release } from "node:os";
import { expect, it } from "vitest";
import { openSockets } from "../support/descriptors.js";
import { processorShare } from "../support/process-limits.js";
import { type LoadSummary, TlsLoad } from "../support/tls-load.js";
import { until } from "../support/wait.js";
import { Lasting } from "./crowd.js";
import { Gauge, room } from "./gauge.js";
import { Upheaval } from "./upheaval.js";
import { names, World } from "./world.js";

const minutes = Number(process.env.SOAK_MINUTES);
const seed = Number(process.env.SOAK_SEED);
/** TLS clients of each door that must be served, and those of the backend that is killed. */
const CLIENTS = 4;
const BRITTLE = 2;
/** Milliseconds between two requests of a client. */
const PAUSE = 25;
/** Milliseconds between two looks at the processes: 120 in all. */
const LOOK = minutes * 500;

it(`holds for ${minutes} minutes (--seed ${seed})`, async () => {
  const begun = new Date();
  const world = await World.start();
  try {
    const relays = await Promise.all(world.doors.map((scene) => scene.relay()));
    const relaySockets = relays.map(({ pid }) => openSockets(pid));
    const steadySockets = openSockets(world.steady.pid);
    const gauges = [
      new Gauge("door, one process", () => world.old.door.pid),
      new Gauge("relay of it", () => relays[0]!.pid),
      new Gauge("door, upgraded", () => world.replaced.door.pid),
      new Gauge("relay of it", () => relays[1]!.pid),
      new Gauge("backend, never ended", () => world.steady.pid),
    ];
    const ports = world.doors.map(({ door }) => door.port);
    const { certificate } = world;
    const start = (port: number, of: readonly string[], clients: number) =>
      TlsLoad.start({ port, ca: certificate.cert, names: of, clients, pause: PAUSE });
    const wanted = await Promise.all(ports.map((port) => start(port, names, CLIENTS)));
    const brittle = await Promise.all(ports.map((port) => start(port, ["brittle.test"], BRITTLE)));
    const lasting = ports.flatMap((port) =>
      ["steady.test", "relayed.test"].map((name) => new Lasting(port, certificate, name)),
    );

    const timers = [
      setInterval(() => {
        for (const gauge of gauges) gauge.look();
      }, LOOK),
      setInterval(() => world.forget(), 1000),
    ];
    const upheaval = new Upheaval(world, seed);
    try {
      await upheaval.run(minutes * 60_000);
    } finally {
      for (const timer of timers) clearInterval(timer);
      console.log(`what happened: ${[...upheaval.happened].map(([what, times]) => `${times} ${what}`).join(", ")}`);
    }

    const answers = await Promise.all(wanted.map((load) => load.stop()));
    const ofBrittle = await Promise.all(brittle.map((load) => load.stop()));
    for (const each of lasting) await each.end();
    for (const scene of world.doors) {
      await until("a door to have no clients", () => scene.clientsOfDoor === 0, 60_000);
    }
    const sockets = () => [...relays.map(({ pid }) => openSockets(pid)), openSockets(world.steady.pid)];
    const before = [...relaySockets, steadySockets];
    await until("relays and backend to have no clients", () => `${sockets()}` === `${before}`, 60_000);
    const pids = [...world.doors.map(({ door }) => door.pid), ...relays.map(({ pid }) => pid), world.steady.pid];
    // Once they have cleaned up: who has nothing to do and does something is none that ends with it.
    await Promise.all(
      pids.map((pid) => until(`process ${pid} to be idle`, async () => (await processorShare(pid, 2000)) < 0.1)),
    );
    const counters = await Promise.all(world.doors.map(({ door }) => door.stop()));

    report(begun, gauges, counters[0]!.accepted, [...answers, ...ofBrittle], lasting);
    expect(answers.map(({ failures }) => failures)).toEqual([{}, {}]);
    // Each kill ends what its backend had taken, and nothing else.
    const kills = upheaval.happened.get("backend killed") ?? 0;
    for (const { failed } of ofBrittle) expect(failed).toBeLessThanOrEqual(kills * BRITTLE);
    for (const { accepted, acknowledged } of counters) {
      expect(accepted).toBeGreaterThan(0);
      expect(acknowledged).toBeGreaterThan(0);
    }
    expect(upheaval.happened.get("upgrade")).toBeGreaterThan(0);
    for (const { name, memory } of gauges) {
      expect(memory.late, `resident MiB of ${name}, which had ${memory.early}`).toBeLessThan(
        1.05 * memory.early + room(minutes),
      );
    }
  } finally {
    await world.end();
  }
});

function report(
  begun: Date,
  gauges: readonly Gauge[],
  accepted: number,
  loads: readonly LoadSummary[],
  lasting: readonly Lasting[],
): void {
  const sum = (of: (load: LoadSummary) => number) => loads.reduce((total, load) => total + of(load), 0);
  const rows = gauges.map((gauge) => [
    gauge.name,
    `${gauge.processes}`,
    gauge.memory.early.toFixed(1),
    gauge.memory.late.toFixed(1),
    gauge.slope.toFixed(1),
    `${gauge.mostDescriptors}`,
    gauge.time.toFixed(1),
  ]);
  const head = [
    "process",
    "processes",
    "MiB, 2nd quarter",
    "MiB, last quarter",
    "MiB an hour",
    "most descriptors",
    "CPU s",
  ];
  const table = [head, head.map(() => "-"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
  console.log(`${table}
${begun.toISOString()}, Linux ${release()}, Node ${process.version}, ${cpus().length} processors, seed ${seed}, ${minutes} minutes
the first door accepted ${accepted} connections, ${((gauges[0]!.time / accepted) * 1e6).toFixed(0)} us of CPU each, all that happened to it included
${sum(({ requests }) => requests)} TLS requests, ${sum(({ failed }) => failed)} failed (of the backend that is killed); slowest ${Math.max(...loads.map(({ longest }) => longest))} ms; ${lasting.reduce((total, { asked }) => total + asked, 0)} over ${lasting.length} connections that lasted`);
}
