import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InstanceChannel, REVOKED, TAKEN_IN, Verdict } from "../../src/handoff/instance-channel.js";
import { MAX_WINDOW, MessageType, RefuseReason } from "../../src/handoff/layout.js";
import { Message } from "../../src/handoff/message.js";

const message = new Message();

function handOver(channel: InstanceChannel, sequence: number, verdict: Verdict = Verdict.TAKE, descriptor = sequence) {
  message.type = MessageType.HANDOFF;
  message.sequence = sequence;
  return channel.receive(message, verdict, descriptor, `text of ${sequence}`);
}

function receive(channel: InstanceChannel, type: number, sequence = 0) {
  message.type = type;
  message.sequence = sequence;
  return channel.receive(message, Verdict.TAKE, -1, "");
}

const sequences = (handoffs: readonly { sequence: number }[]) => handoffs.map(({ sequence }) => sequence);

describe("the sequence", () => {
  it("begins anywhere and goes on one by one", () => {
    const channel = new InstanceChannel(4);
    expect(handOver(channel, 1000)).toBe(TAKEN_IN);
    expect(handOver(channel, 1001)).toBe(TAKEN_IN);
  });

  it.each([
    ["a gap", 12],
    ["a repetition", 10],
    ["a step back", 9],
  ])("%s is a violation", (_, next) => {
    const channel = new InstanceChannel(4);
    handOver(channel, 10);
    expect(handOver(channel, next)).toBe(`HANDOFF ${next} after 10; one higher is next`);
  });

  it("wraps around from 2^32 - 1 to 0", () => {
    const channel = new InstanceChannel(4);
    expect(handOver(channel, 0xfffffffe)).toBe(TAKEN_IN);
    expect(handOver(channel, 0xffffffff)).toBe(TAKEN_IN);
    expect(handOver(channel, 0)).toBe(TAKEN_IN);
    expect(handOver(channel, 1)).toBe(TAKEN_IN);
    expect(channel.acknowledgeable).toBe(1);
    expect(sequences(channel.acknowledge())).toEqual([0xfffffffe, 0xffffffff, 0, 1]);
    expect(channel.acknowledged).toBe(1);
    expect(receive(channel, MessageType.REVOKE, 1)).toBe(REVOKED);
  });
});

describe("acknowledging", () => {
  it("names the last one that is owned, also when the very last is refused", () => {
    const channel = new InstanceChannel(8);
    handOver(channel, 1);
    handOver(channel, 2, Verdict.BURY);
    handOver(channel, 3, RefuseReason.OVERLOADED);
    const refusal = channel.nextRefusal!;
    expect(refusal).toMatchObject({ sequence: 3, descriptor: 3 });
    channel.refused(refusal);
    expect(channel.nextRefusal).toBeUndefined();
    expect(channel.acknowledgeable).toBe(2);
    expect(sequences(channel.acknowledge())).toEqual([1, 2]);
    expect(channel.size).toBe(0);
  });

  it("has nothing to say when all were refused", () => {
    const channel = new InstanceChannel(8);
    handOver(channel, 1, RefuseReason.NOT_TCP, -1);
    channel.refused(channel.nextRefusal!);
    expect(channel.acknowledgeable).toBeUndefined();
    expect(channel.acknowledged).toBeUndefined();
  });

  it("turns to refusing when the server is closed in between", () => {
    const channel = new InstanceChannel(8);
    handOver(channel, 1);
    handOver(channel, 2, Verdict.BURY);
    channel.refuseRest(RefuseReason.DRAINING);
    expect(channel.taking).toBe(0);
    expect(channel.nextRefusal).toMatchObject({ sequence: 1, verdict: RefuseReason.DRAINING });
  });
});

describe("the window", () => {
  it("is a violation to exceed, counting what is not settled", () => {
    const channel = new InstanceChannel(2);
    handOver(channel, 1);
    handOver(channel, 2);
    expect(handOver(channel, 3)).toBe("HANDOFF 3 exceeds the window of 2");
  });

  it("opens with each acknowledgement and refusal", () => {
    const channel = new InstanceChannel(2);
    handOver(channel, 1);
    handOver(channel, 2, RefuseReason.NOT_TCP);
    channel.refused(channel.nextRefusal!);
    expect(handOver(channel, 3)).toBe(TAKEN_IN);
    channel.acknowledge();
    expect(handOver(channel, 4)).toBe(TAKEN_IN);
    expect(handOver(channel, 5)).toBe(TAKEN_IN);
  });
});

describe("the end", () => {
  it("after a failed ACK everything waits, and what comes later joins it", () => {
    const channel = new InstanceChannel(8);
    handOver(channel, 1);
    channel.sendFailed();
    handOver(channel, 2);
    expect(channel.broken).toBe(true);
    expect(sequences(channel.takeAll())).toEqual([1, 2]);
    expect(channel.size).toBe(0);
  });

  it("REVOKE may pass over what was refused", () => {
    const channel = new InstanceChannel(8);
    handOver(channel, 1);
    channel.acknowledge();
    expect(receive(channel, MessageType.REVOKE, 3)).toBe(REVOKED);
  });

  it("REVOKE of what was acknowledged is a violation", () => {
    const channel = new InstanceChannel(8);
    handOver(channel, 1);
    handOver(channel, 2);
    channel.acknowledge();
    expect(receive(channel, MessageType.REVOKE, 1)).toBe("REVOKE after 1, but 2 was acknowledged");
  });
});

it.each(["READY", "ACK", "REFUSE", "DRAIN"] as const)("%s from a door is a violation", (name) => {
  const type = MessageType[name];
  expect(receive(new InstanceChannel(1), type)).toBe(`a message of type ${type}, which only instances send`);
});

it("every handoff leaves the channel exactly once, whatever the order of events", () => {
  const verdicts = [Verdict.TAKE, Verdict.BURY, ...Object.values(RefuseReason)];
  const events = fc.array(
    fc.oneof(
      { weight: 5, arbitrary: fc.constantFrom(...verdicts) },
      fc.constantFrom("settle" as const, "refuse one" as const, "close the server" as const, "end" as const),
    ),
  );
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0xffffffff }), events, (first, script) => {
      const channel = new InstanceChannel(MAX_WINDOW);
      const left: number[] = [];
      let sent = 0;
      const refuse = () => {
        const refusal = channel.nextRefusal;
        if (refusal === undefined) return false;
        channel.refused(refusal);
        left.push(refusal.sequence);
        return true;
      };
      for (const event of [...script, "end"] as const) {
        if (event === "refuse one") refuse();
        else if (event === "close the server") channel.refuseRest(RefuseReason.DRAINING);
        else if (event === "end") left.push(...sequences(channel.takeAll()));
        else if (event === "settle") {
          while (refuse());
          const last = channel.acknowledgeable;
          const owned = sequences(channel.acknowledge());
          expect(owned.at(-1)).toBe(last);
          left.push(...owned);
        } else if (handOver(channel, (first + sent) >>> 0, event) === TAKEN_IN) sent++;
      }
      const expected = Array.from({ length: sent }, (_, i) => (first + i) >>> 0);
      expect(left.toSorted((a, b) => a - b)).toEqual(expected.toSorted((a, b) => a - b));
    }),
  );
});
