/** The model's judge finds what it is there to find. */
import { describe, expect, it } from "vitest";
import type { Seen } from "./client.js";
import type { AccessLine } from "./door.js";
import { History } from "./history.js";
import type { Record } from "./journal.js";
import { type Plan, planOf } from "./plan.js";
import { faultKinds, scheduleOf } from "./schedule.js";
import { now } from "./time.js";
import { judge } from "./verdict.js";

const asks: Plan = {
  number: 0,
  address: "127.1.0.0",
  kind: "asks",
  name: "app.test",
  pieces: [],
  pauses: [],
  requests: [0],
  end: "FIN",
};
const owned = (pid = 7, backend = "app") => ({ pid, backend, time: 0 });
const nobody: Record = { owned: [], answered: [] };
const servedBy = (pid = 7, backend = "app"): Record => ({
  owned: [owned(pid, backend)],
  answered: [{ ...owned(pid, backend), number: 1 }],
});
const line = (outcome: string, instance_pid?: number): AccessLine => ({
  client: asks.address,
  outcome,
  ...(instance_pid !== undefined && { instance_pid }),
});

function history(): History {
  const made = new History();
  made.written(0);
  return made;
}

/** A client from now on for a second; without an answer. */
function cut(plan: Plan = asks): Seen {
  const begun = now();
  return { plan, begun, ended: begun + 1000, answers: [], received: Buffer.alloc(0), end: "ECONNRESET" };
}

function answered(text = "app 7 1", plan: Plan = asks): Seen {
  return { ...cut(plan), answers: [text], received: Buffer.from(`${text}\n`), end: "own" };
}

const soon = () => ({ from: now() + 500, to: now() + 510 });

describe("right", () => {
  it("who asks is answered by whom its name leads to", () => {
    expect(judge(answered(), servedBy(), [], history())).toEqual({ as: "answered" });
  });

  it("of an unknown name: an alert", () => {
    const refused = {
      ...cut({ ...asks, kind: "refused", name: "nobody.test" }),
      received: Buffer.from([21, 3, 3, 0, 2, 2, 112]),
    };
    expect(judge(refused, nobody, [], history())).toEqual({ as: "refused" });
  });

  it("who has it is killed", () => {
    const past = history();
    const seen = cut();
    past.instancesKilled.set(7, soon());
    expect(judge(seen, { owned: [owned()], answered: [] }, [], past)).toEqual({ as: "with its instance" });
    // It had acknowledged, and not written it down yet.
    expect(judge(seen, nobody, [line("handed_over", 7)], past)).toEqual({ as: "with its instance" });
  });

  it("who has it was killed a moment before, and was not gone yet", () => {
    const past = history();
    past.instancesKilled.set(7, { from: now() - 10, to: now() + 10 });
    expect(judge(cut(), nobody, [line("handed_over", 7)], past)).toEqual({ as: "with its instance" });
  });

  it("the door that has it is killed", () => {
    const past = history();
    past.doorsKilled.set(3, soon());
    expect(judge(cut(), nobody, [], past)).toEqual({ as: "with its door" });
  });
});

describe("wrong", () => {
  it.each<[string, Seen, Record, AccessLine[], RegExp]>([
    ["nobody was killed", cut(), nobody, [], /lost/],
    ["its instance lives", cut(), { owned: [owned()], answered: [] }, [], /lost/],
    ["two had it", answered(), { owned: [owned(7), owned(8)], answered: [] }, [], /two processes/],
    [
      "it was answered twice",
      answered(),
      { ...servedBy(), answered: [...servedBy().answered, ...servedBy().answered] },
      [],
      /twice/,
    ],
    ["a stranger answers", answered("pool 7 1"), servedBy(7, "pool"), [], /backend pool had it; its name led to app/],
    ["somebody else answers than who had it", answered("app 8 1"), servedBy(7), [], /lost/],
    ["a part of a hello gets to a backend", cut({ ...asks, kind: "incomplete" }), servedBy(), [], /none should/],
    ["the door gives up", cut(), nobody, [line("refused")], /lost/],
  ])("%s", (_title, seen, record, said, words) => {
    expect(judge(seen, record, said, history())).toEqual({ wrong: expect.stringMatching(words) });
  });

  it("somebody else was killed, or before, or the door when an instance had it", () => {
    const past = history();
    past.instancesKilled.set(8, soon());
    past.instancesKilled.set(7, { from: now() - 1000, to: now() - 900 });
    past.doorsKilled.set(3, soon());
    expect(judge(cut(), { owned: [owned()], answered: [] }, [], past)).toEqual({ wrong: "it was lost" });
  });

  it("the door refuses, and is killed later", () => {
    const past = history();
    past.doorsKilled.set(3, soon());
    expect(judge(cut(), nobody, [line("refused")], past)).toEqual({ wrong: "it was lost" });
  });

  it("it went by a configuration that was in force no more", () => {
    const past = history();
    past.written(1);
    past.inForce(1);
    const moved = { ...asks, name: "moving.test" };
    expect(judge(answered("pool 7 1", moved), servedBy(7, "pool"), [], past)).toEqual({ as: "answered" });
    expect(judge(answered("app 7 1", moved), servedBy(7, "app"), [], past)).toHaveProperty("wrong");
  });
});

describe("a seed", () => {
  it("says what each client does, and which faults there are", () => {
    expect(planOf(5, 77)).toEqual(planOf(5, 77));
    expect(planOf(5, 77)).not.toEqual(planOf(6, 77));
    expect(scheduleOf(5, 200)).toEqual(scheduleOf(5, 200));
    expect(new Set(scheduleOf(5, 100).map(({ kind }) => kind))).toEqual(new Set(faultKinds));
  });
});
