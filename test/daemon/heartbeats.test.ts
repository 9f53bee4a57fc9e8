import { expect, it } from "vitest";
import { Heartbeats } from "../../src/daemon/heartbeats.js";
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
  const heartbeats = new Heartbeats(workers);
  heartbeats.ping();
  expect(sent).toEqual([{ type: "ping", beat: 1 }]);
  expect(heartbeats.repeated).toBe(false);
  answer(0, 1);
  expect(heartbeats.repeated).toBe(false);
  answer(1, 1);
  expect(heartbeats.repeated).toBe(true);
  heartbeats.ping();
  // While one has not answered there are no more questions: how old the first one is tells who is stuck.
  heartbeats.ping();
  expect(sent).toHaveLength(2);
  expect(sent.at(-1)).toEqual({ type: "ping", beat: 2 });
  expect(heartbeats.repeated).toBe(false);
  answer(0, 2);
  answer(1, 2);
  expect(heartbeats.repeated).toBe(true);
});
