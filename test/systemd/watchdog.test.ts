import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { takeWatchdogPeriod, Watchdog } from "../../src/daemon/systemd/watchdog.js";

describe("WATCHDOG_USEC and WATCHDOG_PID", () => {
  it.each([
    ["alone", { WATCHDOG_USEC: "3000000" }, 3_000_000],
    ["for this process", { WATCHDOG_USEC: "3000000", WATCHDOG_PID: "77" }, 3_000_000],
    ["for another process", { WATCHDOG_USEC: "3000000", WATCHDOG_PID: "78" }, undefined],
    ["absent", {}, undefined],
    ["zero", { WATCHDOG_USEC: "0" }, undefined],
    ["no number", { WATCHDOG_USEC: "3s" }, undefined],
    ["negative", { WATCHDOG_USEC: "-3" }, undefined],
  ])("%s", (_, environment: NodeJS.ProcessEnv, expected) => {
    expect(takeWatchdogPeriod(environment, 77)).toBe(expected);
    expect(environment).toEqual({});
  });
});

describe("the watchdog", () => {
  const PERIOD = 3_000_000; // looks every second
  let pings: number;
  let feeds: number;
  let alive: boolean;
  let watchdog: Watchdog | undefined;
  const start = (period = PERIOD) => {
    watchdog = new Watchdog(period, {
      ping: () => pings++,
      answered: () => alive,
      feed: () => feeds++,
    });
  };

  beforeEach(() => {
    vi.useFakeTimers();
    pings = 0;
    feeds = 0;
    alive = true;
  });
  afterEach(() => {
    watchdog?.close();
    vi.useRealTimers();
  });

  it("asks at once, and is fed three times a period while all answer", () => {
    start();
    expect([pings, feeds]).toEqual([1, 0]);
    vi.advanceTimersByTime(999);
    expect([pings, feeds]).toEqual([1, 0]);
    vi.advanceTimersByTime(1);
    expect([pings, feeds]).toEqual([2, 1]);
    vi.advanceTimersByTime(9_000);
    expect([pings, feeds]).toEqual([11, 10]);
  });

  it("is not fed while one does not answer, and is again when that one does", () => {
    start();
    vi.advanceTimersByTime(1_000);
    alive = false;
    vi.advanceTimersByTime(10_000);
    expect([pings, feeds]).toEqual([2, 1]);
    alive = true;
    vi.advanceTimersByTime(1_000);
    expect([pings, feeds]).toEqual([3, 2]);
  });

  it("is never fed without a first answer", () => {
    alive = false;
    start();
    vi.advanceTimersByTime(60_000);
    expect(feeds).toBe(0);
  });

  it("ends", () => {
    start();
    watchdog!.close();
    vi.advanceTimersByTime(60_000);
    expect([pings, feeds]).toEqual([1, 0]);
  });

  it.each([
    ["a millisecond at least", 1, 1, 1],
    ["no more than a timer can have", Number.MAX_SAFE_INTEGER, 0x7fffffff, 1],
  ])("looks after %s", (_, period, milliseconds, expected) => {
    start(period);
    vi.advanceTimersByTime(milliseconds - 1);
    expect(feeds).toBe(0);
    vi.advanceTimersByTime(1);
    expect(feeds).toBe(expected);
  });
});
