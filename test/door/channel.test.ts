import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Channel, ChannelState } from "../../src/door/channel.js";
import type { HandoffBackendSettings } from "../../src/door/settings.js";
import { RefuseReason } from "../../src/handoff/layout.js";

const settings: HandoffBackendSettings = {
  kind: "handoff",
  name: "app",
  path: "/run/app.sock",
  balance: "round-robin",
  hold: 5000,
  maxHeld: 100,
  maxHeldPerClient: 100,
  acknowledgeTimeout: 500,
  fallback: -1,
  uid: -1,
  connect: "eagerly",
  maxConnections: 0,
};

function readyChannel(window = 8, firstSequence = 1): Channel {
  const channel = new Channel(0, 0, settings, settings.path, "app /run/app.sock", firstSequence);
  channel.state = ChannelState.READY;
  channel.window = window;
  return channel;
}

function owned(channel: Channel, sequence: number): number[] | string {
  const slots: number[] = [];
  return channel.acknowledge(sequence, (slot) => slots.push(slot)) ?? slots;
}

describe("a channel's window", () => {
  it("closes when as many are outstanding as READY offered, and opens with an acknowledgement", () => {
    const channel = readyChannel(2);
    channel.sent(10);
    expect(channel.room(0)).toBe(1);
    channel.sent(11);
    expect(channel.takes(0)).toBe(false);
    expect(owned(channel, 1)).toEqual([10]);
    expect(channel.takes(0)).toBe(true);
  });

  it("counts messages that are queued and not sent", () => {
    const channel = readyChannel(2);
    channel.queued = 2;
    expect(channel.takes(0)).toBe(false);
  });

  it("stays closed while the instance rests, is stalled, drains or broke the protocol", () => {
    for (const change of [
      { restsUntil: 100 },
      { stalled: true },
      { state: ChannelState.DRAINING },
      { violation: "x" },
      { retired: true },
    ]) {
      const channel = readyChannel();
      Object.assign(channel, change);
      expect(channel.takes(50)).toBe(false);
    }
  });
});

describe("acknowledgements", () => {
  it("are cumulative", () => {
    const channel = readyChannel();
    for (const slot of [10, 11, 12]) channel.sent(slot);
    expect(owned(channel, 2)).toEqual([10, 11]);
    expect(owned(channel, 3)).toEqual([12]);
    expect(channel.outstanding).toBe(0);
  });

  it("may repeat, to tell the open count only", () => {
    const channel = readyChannel();
    channel.sent(10);
    expect(owned(channel, 1)).toEqual([10]);
    expect(owned(channel, 1)).toEqual([]);
  });

  it("beyond the last sent are a violation, and take nothing", () => {
    const channel = readyChannel();
    channel.sent(10);
    expect(owned(channel, 2)).toBe("ACK of 2, but 1 is the last that was sent");
    expect(channel.outstanding).toBe(1);
  });

  it("pass over what was refused before", () => {
    const channel = readyChannel();
    for (const slot of [10, 11, 12]) channel.sent(slot);
    expect(channel.refuse(2)).toBe(11);
    expect(owned(channel, 3)).toEqual([10, 12]);
  });

  it("wrap around 2^32", () => {
    const channel = readyChannel(8, 0xffffffff);
    for (const slot of [10, 11, 12]) channel.sent(slot);
    expect(owned(channel, 0)).toEqual([10, 11]);
    expect(owned(channel, 2)).toBe("ACK of 2, but 1 is the last that was sent");
    expect(owned(channel, 1)).toEqual([12]);
  });
});

describe("refusals", () => {
  it("of something that is not outstanding are a violation", () => {
    const channel = readyChannel();
    channel.sent(10);
    expect(channel.refuse(2)).toBe("REFUSE of 2, which is not outstanding");
    expect(owned(channel, 1)).toEqual([10]);
    expect(channel.refuse(1)).toBe("REFUSE of 1, which is not outstanding");
  });

  it("keep the window moving though nothing is ever acknowledged", () => {
    const channel = readyChannel(2);
    for (let sequence = 1; sequence <= 1000; sequence++) {
      expect(channel.takes(0)).toBe(true);
      channel.sent(sequence);
      expect(channel.refuse(sequence)).toBe(sequence);
    }
  });

  it("have the reasons of the protocol", () => {
    expect(RefuseReason).toEqual({ NO_DESCRIPTOR: 1, NOT_TCP: 2, OVERLOADED: 3, DRAINING: 4 });
  });
});

it("every connection that is sent leaves exactly once: owned, refused or taken back", () => {
  const action = fc.oneof(
    { weight: 4, arbitrary: fc.constant({ do: "send" as const }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("ack" as const), ahead: fc.integer({ min: -3, max: 12 }) }) },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant("refuse" as const), ahead: fc.integer({ min: -2, max: 12 }) }),
    },
  );
  fc.assert(
    fc.property(
      fc.array(action, { maxLength: 400 }),
      fc.integer({ min: 1, max: 128 }),
      fc.oneof(fc.constant(1), fc.integer({ min: 0xffffff00, max: 0xffffffff })),
      (actions, window, first) => {
        const channel = readyChannel(window, first);
        const alive = new Set<number>();
        const leave = (slot: number) => {
          if (!alive.delete(slot)) throw new Error(`${slot} left twice`);
        };
        let next = 0;
        for (const each of actions) {
          if (each.do === "send") {
            if (!channel.takes(0)) continue;
            alive.add(next);
            channel.sent(next++);
          } else if (each.do === "ack") {
            channel.acknowledge((channel.acknowledged + each.ahead) >>> 0, leave);
          } else {
            const slot = channel.refuse((channel.acknowledged + each.ahead) >>> 0);
            if (typeof slot === "number") leave(slot);
          }
          expect(channel.outstanding).toBe(alive.size);
          expect(channel.outstanding).toBeLessThanOrEqual(window);
        }
        const order: number[] = [];
        channel.takeBack((slot) => {
          leave(slot);
          order.push(slot);
        });
        expect(alive.size).toBe(0);
        expect(order).toEqual([...order].sort((a, b) => a - b));
      },
    ),
    { numRuns: 500 },
  );
});
