/** Hellos that trickle in, in the form that costs a reader most: it sleeps between their pieces. */
import { readdirSync, readFileSync } from "node:fs";
import { afterEach, beforeEach, expect, it } from "vitest";
import { isAsleep } from "../support/asleep.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";

let scene: Scene;

beforeEach(() => {
  scene = new Scene();
});

afterEach(() => scene.end());

/** How often the threads of a process have gone to sleep: proc(5). */
function sleeps(pid: number): number {
  return readdirSync(`/proc/${pid}/task`)
    .map((task) => readFileSync(`/proc/${pid}/task/${task}/status`, "utf8"))
    .map((status) => Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)![1]))
    .reduce((sum, each) => sum + each, 0);
}

/** The door has time to look at each piece before the next one comes. */
async function sleepsFor(pieces: readonly Uint8Array[]): Promise<number> {
  const { pid } = scene.door;
  const client = await scene.client();
  const before = sleeps(pid);
  for (const piece of pieces) {
    client.send(piece);
    await new Promise((resolve) => setTimeout(resolve, 2));
    await until("the door to sleep", () => isAsleep(pid));
  }
  const slept = sleeps(pid) - before;
  client.send(Buffer.from("END\n"));
  expect(JSON.parse((await client.reply).received.toString()).name).toBe("app");
  return slept;
}

const pieces = (bytes: Uint8Array, size: number) =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size));

it.each([
  ["one record, in single bytes", {}, 1],
  ["records of one byte each, one at a time", { recordSizes: Array(2000).fill(1) as number[] }, 6],
])("a hello in %s: the door wakes once for each at most", async (what, records, size) => {
  await scene.raw("app");
  await scene.startDoor(
    `backends: { app: { handoff: "${scene.at("app")}" } }\nroutes: { app.test: app }\ntimeouts: { hello: 10m }\n`,
    { channels: 1, listener: "deferAccept: 0" },
  );
  const sent = pieces(buildHello({ serverName: "app.test", ech: 800, ...records }), size);
  // For few at first, thanks to SO_RCVLOWAT. Once small segments have used up the queue's memory the kernel wakes it for each
  // (tcp_stream_is_readable): when that is depends on how it has merged them, in some 350 to 600 wakes for 900 pieces.
  // What it sleeps for anyhow: timers of a second, and the test's own questions.
  const begun = performance.now();
  const slept = await sleepsFor(sent);
  const seconds = (performance.now() - begun) / 1000;
  console.log(`${what}: ${sent.length} pieces in ${seconds.toFixed(1)} s, and the door slept ${slept} times`);
  expect(slept).toBeLessThan(sent.length + 20 * seconds);
});
