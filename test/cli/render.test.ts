/** A status as text. */
import { describe, expect, test } from "vitest";
import { renderStatus } from "../../src/cli/status/render.js";
import { bytes, count, duration, labelled, milliseconds, rate, shorten, table } from "../../src/cli/status/text.js";
import { frame } from "../../src/cli/status/watch.js";
import type { Status } from "../../src/daemon/status.js";
import { someBackend, someInstance, someStatus } from "../support/some-status.js";

const render = (status: Status, options = {}) => renderStatus({ status, at: 0 }, { width: 80, ...options });

describe("a status", () => {
  test("is readable on 80 columns", () => {
    const [configuration, ...more] = render(someStatus()).slice(1);
    expect(configuration).toMatch(/^configuration {2}\/etc\/sni-handoff\/front-door\.yaml,$/);
    expect(more[0]).toMatch(/^ {15}generation 3 of 2026-01-0\d \d\d:\d\d:\d\d, 12 names in 64\.0 KiB$/);
    expect(more.slice(1)).toEqual([
      "listeners      *:443, *:80 (http), inside [::1]:8443 (systemd)",
      "control        /run/sni-handoff/control.sock, metrics 127.0.0.1:9443,",
      "               access log errors",
      "privileges     sni-handoff (998:997), no new privileges, no capabilities,",
      "               landlock abi 6: 5 folders",
      "process        81.1 MiB, 120 of 65536 descriptors, 12.3 s of CPU,",
      "               event loop late by 1.20 ms",
      "systemd        notified, watchdog 30 s",
      "",
      "WORKER  STATE       BUSY  CONNECTIONS  WAITING  HELD  UNACKNOWLEDGED",
      "0       responsive   12%            5        3     1               1",
      "1       STUCK       100%         123k        0     0               0",
      "",
      "BACKEND         STATE     PID   OPEN  UNACK  HELD  TAKEN  P50 MS  P99 MS",
      "app             ready             12      1     0   1200    0.42    12.3",
      "  door.sock     ready    4242     12      1",
      "pool            1 of 2         23456      1     0  1.23M    0.42    12.3",
      "  17-0a1b.sock  ready      17  23456      1",
      "  18-0a1b.sock  absent             0      0",
      "    connect: Connection refused (ECONNREFUSED)",
      "empty           NOBODY             0      0     7      0",
      "sorry           rejects                                9",
      "",
      "TOTALS",
      "accepted     1240000   acknowledged 1235767   rejected           9",
      "handed over  1235768   held               3",
    ]);
  });

  test("says what a failed reload said", () => {
    const lastReload = { at: "2026-01-02T03:04:05.000Z", ok: false, message: "a.yaml:1:1: listeners: is wrong" };
    const status = someStatus({ configuration: { ...someStatus().configuration, lastReload } });
    for (const brief of [true, false]) {
      expect(render(status, { brief }).join("\n")).toMatch(/\nlast reload {4}FAILED at .*: a\.yaml:1:1: listeners/);
    }
  });

  test.each([20, 40, 60, 80, 132])("is never wider than %d columns", (width) => {
    const name = "a-name-that-is-far-too-long-for-any-table.example.com/".repeat(3);
    const status = someStatus({
      backends: [someBackend({ name, instances: [someInstance({ path: `/${name.replaceAll("/", "-")}` })] })],
      listeners: [{ name, address: name, protocol: "http", source: "systemd" }],
    });
    for (const line of render(status, { width })) expect([...line].length).toBeLessThanOrEqual(width);
  });

  test("may have nothing in it, and numbers that another version doesn't tell", () => {
    const status = someStatus({ workers: [], backends: [], listeners: [] });
    expect(render(status).length).toBeGreaterThan(10);
    const lacking = { ...someStatus(), process: {}, uptime: undefined } as unknown as Status;
    expect(render(lacking).join("\n")).toContain("up -");
  });
});

test("a status without something that is shown: one of another version", () => {
  const { targets: _, ...backend } = someBackend();
  const status = someStatus({ backends: [backend as never] });
  const message = "the daemon of version 1.2.3 tells its status otherwise: ask it with its own sni-handoff";
  expect(() => renderStatus({ status, at: 0 }, { width: 80 })).toThrow(
    expect.objectContaining({ code: "ERR_CONTROL", message }),
  );
});

describe("rates", () => {
  const later = (changes: Partial<Status>) => {
    const first = someStatus();
    const status = someStatus({ counters: { ...first.counters, accepted: first.counters.accepted + 500 }, ...changes });
    return renderStatus({ status, at: 2000 }, { width: 80, previous: { status: first, at: 0 } }).join("\n");
  };

  test("are differences over the time between", () => {
    const backends = someStatus().backends.map((backend) =>
      backend.name === "app" ? { ...backend, counters: { acknowledged: 1225 } } : backend,
    );
    const text = later({ backends });
    expect(text).toMatch(/accepted +1\.24M 250\/s/);
    expect(text).toMatch(/TAKEN\/S/);
    expect(text).toMatch(/^app +ready +12 +1 +0 +12\.5 /m);
    expect(text).toMatch(/^pool +1 of 2 +23456 +1 +0 +0 /m);
  });

  test("are none for a daemon that was started again, or whose counters were", () => {
    expect(later({ pid: 4001 })).not.toMatch(/\d\/s|TAKEN\/S/);
    expect(later({ counters: { ...someStatus().counters, accepted: 3 } })).not.toMatch(/\d\/s|TAKEN\/S/);
  });
});

describe("a screenful", () => {
  const options = { control: "/run/c.sock", interval: 1000, json: false };
  const view = { sample: { status: someStatus(), at: 0 }, previous: undefined };

  test("is no higher than the terminal, and says what is left out", () => {
    expect(frame(view, options, 80, 100)[0]).toBe("every 1 s; q quits");
    const lines = frame(view, options, 80, 12);
    expect(lines).toHaveLength(12);
    expect(lines[11]).toMatch(/^… \d+ more lines/);
    expect(frame(view, options, 80, 1)).toHaveLength(1);
  });

  test("without a daemon says so, and why", () => {
    expect(frame({ absent: "there is no control socket /run/c.sock: no daemon runs" }, options, 40, 10)).toEqual([
      "every 1 s; q quits",
      "",
      "no daemon behind /ru….sock, trying again",
      "  there is no control socket",
      "  /run/c.sock: no daemon runs",
    ]);
  });
});

describe("pieces of text", () => {
  test.each([
    [count, 0, "0"],
    [count, 99_999, "99999"],
    [count, 99_999.6, "100k"],
    [count, 123_456, "123k"],
    [count, 999_600, "1.00M"],
    [count, 1_234_567, "1.23M"],
    [count, 12_345_678_901, "12.3G"],
    [count, 5e15, "5000T"],
    [count, Number.NaN, "-"],
    [rate, 0, "0"],
    [rate, 0.256, "0.26"],
    [rate, 12.34, "12.3"],
    [rate, 123_456, "123k"],
    [milliseconds, 0.423, "0.42"],
    [milliseconds, 1500.4, "1500"],
    [bytes, 1023, "1023 B"],
    [bytes, 1024, "1.0 KiB"],
    [bytes, 85_000_000, "81.1 MiB"],
    [bytes, 3 * 2 ** 40, "3072.0 GiB"],
    [duration, 0, "0s"],
    [duration, 59.9, "59s"],
    [duration, 3600, "1h 0m"],
    [duration, 93_784, "1d 2h"],
  ])("%o of %d is %j", (form, value, text) => {
    expect(form(value)).toBe(text);
  });

  test("a line that is too long loses its middle", () => {
    expect(shorten("abcdefghij", 10)).toBe("abcdefghij");
    expect(shorten("abcdefghij", 5)).toBe("ab…ij");
    expect(shorten("abcdefghij", 1)).toBe("…");
    expect(shorten("a\nb", 5)).toBe("a b");
  });

  test("parts are kept together if they can be", () => {
    expect(labelled("label", ["one two", "three four", "five six seven eight"], 20, 8)).toEqual([
      "label   one two,",
      "        three four,",
      "        five six",
      "        seven eight",
    ]);
  });

  test("a table gives way in its first column", () => {
    const columns = [
      { title: "NAME", align: "left" },
      { title: "N", align: "right" },
    ] as const;
    expect(table(columns, [["a-long-name-indeed", "1"]], 14)).toEqual(["NAME         N", "a-lon…ndeed  1"]);
  });
});
