import { describe, expect, it } from "vitest";
import { choose } from "../../src/door/balance.js";
import { Channel, ChannelState } from "../../src/door/channel.js";
import type { Balance, HandoffBackendSettings } from "../../src/door/settings.js";

function instances(...changes: Partial<Channel>[]): Channel[] {
  return changes.map((change, i) =>
    Object.assign(new Channel(i, 0, {} as HandoffBackendSettings, `/${i}`, `${i}`), {
      state: ChannelState.READY,
      window: 100,
      ...change,
    }),
  );
}

function chosen(channels: Channel[], balance: Balance, times: number, avoid?: Map<string, string>): string {
  return Array.from({ length: times }, () => choose(channels, balance, 0, avoid)?.key ?? "-").join("");
}

describe("round-robin", () => {
  it("goes in turn", () => {
    expect(chosen(instances({}, {}, {}), "round-robin", 7)).toBe("0120120");
  });

  it("interleaves by weight", () => {
    expect(chosen(instances({ weight: 3 }, { weight: 1 }), "round-robin", 8)).toBe("00100010");
  });

  it("passes over those that take nothing, and those that refused this one", () => {
    const channels = instances({}, { stalled: true }, {});
    expect(chosen(channels, "round-robin", 4)).toBe("0202");
    expect(chosen(channels, "round-robin", 2, new Map([["0", "0"]]))).toBe("22");
  });

  it("gives who was refused to the one that has said since that it has room", () => {
    const [channel] = instances({}) as [Channel];
    const avoid = new Map([[channel.key, channel.instance]]);
    expect(chosen([channel], "round-robin", 1, avoid)).toBe("-");
    channel.hasRoomAgain();
    expect(chosen([channel], "round-robin", 1, avoid)).toBe("0");
  });

  it("has nobody when nobody takes any", () => {
    expect(choose(instances({ window: 0 }), "round-robin", 0, undefined)).toBeUndefined();
    expect(choose([], "round-robin", 0, undefined)).toBeUndefined();
  });
});

describe("least-connections", () => {
  it("takes the one with the fewest open, those on their way included", () => {
    expect(chosen(instances({ open: 5 }, { open: 2 }, { open: 3 }), "least-connections", 1)).toBe("1");
    expect(chosen(instances({ open: 1 }, { open: 0, queued: 2 }), "least-connections", 1)).toBe("0");
    expect(chosen(instances({ open: 1 }, { open: 0, outstanding: 2 }), "least-connections", 1)).toBe("0");
  });

  it("counts a unit of weight", () => {
    expect(chosen(instances({ open: 4, weight: 4 }, { open: 2 }), "least-connections", 1)).toBe("0");
  });

  it("goes in turn among equals", () => {
    expect(chosen(instances({}, {}), "least-connections", 4)).toBe("0101");
  });
});
