/** SIGTERM: what waits is finished, until a deadline or a second signal; nobody who was accepted is lost. */
import { afterEach, beforeEach, expect, it } from "vitest";
import type { CounterName } from "../../src/door/counters.js";
import { ALERT_CODES } from "../../src/tls/alerts.js";
import type { BackendProcess } from "../support/backend-process.js";
import { certificate } from "../support/certificates.js";
import { get } from "../support/https-client.js";
import { RawClient } from "../support/raw-client.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";

/** How long the door lets clients finish where that is to be waited for. Milliseconds. */
const DEADLINE = 2000;

const helloTo = (name: string) => Buffer.concat([buildHello({ serverName: name }), Buffer.from("END\n")]);
const internalError = { received: Buffer.from([21, 3, 3, 0, 2, 2, ALERT_CODES.internal_error]), end: "FIN" };

let scene: Scene;

beforeEach(() => {
  scene = new Scene();
});

afterEach(() => scene.end());

const terminate = () => process.kill(scene.door.pid, "SIGTERM");

async function answeredBy(client: RawClient): Promise<string> {
  return JSON.parse((await client.reply).received.toString()).name;
}

/** Resolves when the kernel refuses new clients. */
async function refusesClients(): Promise<void> {
  await until("new clients to be refused", async () => {
    const refused = await RawClient.connect(scene.door.port).catch((error: Error) => error.message);
    if (typeof refused === "string") return refused === "cannot connect: ECONNREFUSED";
    refused.close();
    return false;
  });
}

/** Resolves when the door has ended, which must be in order. */
async function ended(): Promise<{ abandoned?: number; counters: Record<CounterName, number> }> {
  expect(await scene.door.child.ended).toEqual({ status: 0, signal: null });
  const line = scene.door.log.findLast(({ event }) => event === "stopped")!;
  return line as unknown as Awaited<ReturnType<typeof ended>>;
}

it("clients whose hello is incomplete, who are held, and whom a stopped instance has not acknowledged are served", async () => {
  await scene.raw("app");
  const stopped = await scene.raw("stopped");
  await scene.startDoor(
    `
backends:
  app: { handoff: "${scene.at("app")}" }
  late: { handoff: "${scene.at("late")}", hold: 10m }
  stopped: { handoff: "${scene.at("stopped")}", acknowledgeTimeout: 10m }
routes: { app.test: app, late.test: late, stopped.test: stopped }
timeouts: { hello: 10m, drain: 10m }
`,
    { workers: 2, channels: 4 },
  );
  stopped.signal("SIGSTOP");
  const five = [1, 2, 3, 4, 5];
  const hello = helloTo("app.test");
  const slow = await Promise.all(five.map((length) => scene.client(hello.subarray(0, 9 * length))));
  const held = await Promise.all(five.map(() => scene.client(helloTo("late.test"))));
  const outstanding = await Promise.all(five.map(() => scene.client(helloTo("stopped.test"))));
  await scene.doorHas(15);
  terminate();
  await scene.door.event("stopping");
  await refusesClients();
  for (const [i, client] of slow.entries()) client.send(hello.subarray(9 * five[i]!));
  await scene.raw("late");
  stopped.signal("SIGCONT");
  for (const client of slow) expect(await answeredBy(client)).toBe("app");
  for (const client of held) expect(await answeredBy(client)).toBe("late");
  for (const client of outstanding) expect(await answeredBy(client)).toBe("stopped");
  const { abandoned, counters } = await ended();
  expect(abandoned).toBe(0);
  expect(counters).toMatchObject({ acknowledged: 15, lost_after_read: 0, abandoned: 0, defect: 0 });
});

it("who still waits at the deadline gets the alert internal_error", async () => {
  await scene.startDoor(
    `backends: { app: { handoff: "${scene.at("app")}", hold: 10m } }\ndefault: app\ntimeouts: { hello: 10m, drain: ${DEADLINE}ms }\n`,
    { workers: 2 },
  );
  const hello = helloTo("app.test");
  const clients = [await scene.client(hello), await scene.client(hello.subarray(0, 20))];
  await scene.doorHas(2);
  const begun = performance.now();
  terminate();
  for (const client of clients) expect(await client.reply).toEqual(internalError);
  expect(performance.now() - begun).toBeGreaterThanOrEqual(DEADLINE);
  const { abandoned, counters } = await ended();
  expect(abandoned).toBe(2);
  expect(counters).toMatchObject({ abandoned: 2, defect: 0 });
});

it("a second signal ends at once", async () => {
  await scene.startDoor(
    `backends: { app: { handoff: "${scene.at("app")}", hold: 10m } }\ndefault: app\ntimeouts: { drain: 10m }\n`,
  );
  const client = await scene.client(helloTo("app.test"));
  await scene.doorHas(1);
  terminate();
  await scene.door.event("stopping");
  const begun = performance.now();
  terminate();
  expect((await ended()).abandoned).toBeUndefined();
  expect(performance.now() - begun).toBeLessThan(60_000);
  await client.reply;
});

it("under load, every connection that was accepted is answered, once", async () => {
  const app = await certificate("app.test");
  const backends: BackendProcess[] = [];
  for (const name of ["first", "second"]) {
    backends.push(await scene.backend({ kind: "https", path: scene.at(name), certificate: app }));
  }
  await scene.startDoor(
    `
backends:
  first: { handoff: "${scene.at("first")}" }
  second: { handoff: "${scene.at("second")}" }
routes: { app.test: first }
default: second
timeouts: { hello: 60s, drain: 60s }
`,
    { workers: 2, channels: 4 },
  );
  let asked = 0;
  let answered = 0;
  const failures = new Map<string, number>();
  /** Asks again and again, until nobody listens any more. */
  async function load(): Promise<void> {
    for (;;) {
      try {
        await get(scene.door.port, app, `/${asked++}`);
        answered++;
      } catch (error) {
        const { code = String(error) } = error as NodeJS.ErrnoException;
        failures.set(code, (failures.get(code) ?? 0) + 1);
        if (code === "ECONNREFUSED") return;
      }
    }
  }
  const clients = Promise.all(Array.from({ length: 40 }, load));
  await until("the load to be on its way", () => answered > 200);
  terminate();
  await clients;
  const { abandoned, counters } = await ended();
  expect(abandoned).toBe(0);
  expect(counters.accepted).toBeGreaterThan(200);
  expect(counters).toMatchObject({ acknowledged: counters.accepted, client_gone: 0, lost_after_read: 0, defect: 0 });
  expect(answered).toBe(counters.acknowledged);
  const served = () => backends.flatMap((backend) => backend.served);
  await until("the backends' lines", () => served().length >= answered);
  expect(new Set(served()).size).toBe(answered);
  expect(served()).toHaveLength(answered);
  // What the kernel had not given to the door yet when it closed the port.
  failures.delete("ECONNREFUSED");
  failures.delete("ECONNRESET");
  expect([...failures]).toEqual([]);
});
