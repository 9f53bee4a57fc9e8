import { expect, it } from "vitest";
import { Heartbeat } from "../../src/daemon/systemd/heartbeat.js";
import type { Workers } from "../../src/daemon/workers.js";
import { createGauges, Gauge } from "../../src/door/gauges.js";

it("is there when every worker has answered the last ping", () => {
  const gauges = [createGauges(), createGauges()];
  const sent: unknown[] = [];
  const workers = {
    memories: gauges.map((each) => ({ gauges: each })) as unknown as Workers["memories"],
    command: (command: unknown) => sent.push(command),
  };
  const answer = (worker: number, beat: number) => {
    new Float64Array(gauges[worker]!)[Gauge.heartbeat] = beat;
  };
  const heartbeat = new Heartbeat(workers);
  heartbeat.ping();
  expect(sent).toEqual([{ type: "ping", beat: 1 }]);
  expect(heartbeat.answered()).toBe(false);
  answer(0, 1);
  expect(heartbeat.answered()).toBe(false);
  answer(1, 1);
  expect(heartbeat.answered()).toBe(true);
  heartbeat.ping();
  expect(sent.at(-1)).toEqual({ type: "ping", beat: 2 });
  expect(heartbeat.answered()).toBe(false);
  answer(0, 2);
  answer(1, 2);
  expect(heartbeat.answered()).toBe(true);
});
