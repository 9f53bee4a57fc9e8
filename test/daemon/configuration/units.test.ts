import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatListenAddress, parseListenAddress } from "../../../src/daemon/configuration/addresses.js";
import { formatDuration, parseDuration } from "../../../src/daemon/configuration/durations.js";
import { distance, nearest } from "../../../src/daemon/configuration/nearest.js";
import { formatSize, parseSize } from "../../../src/daemon/configuration/sizes.js";
import { formatProblem } from "../../../src/errors.js";

describe("durations", () => {
  test.each([
    ["500ms", 500],
    ["5s", 5000],
    ["1.5s", 1500],
    ["2m", 120_000],
    ["1h", 3_600_000],
    ["0s", 0],
    ["0.0004s", 0],
  ])("%s is %d ms", (text, milliseconds) => {
    expect(parseDuration(text)).toBe(milliseconds);
  });

  test.each(["", "5", "s", "5 s", " 5s", "5S", "-5s", "5s5s", "5d", ".5s", "5.s", "1e3s", "∞s", "5s\n"])(
    "%j is none",
    (text) => {
      expect(parseDuration(text)).toBeUndefined();
    },
  );

  test("what is written reads back as the same", () => {
    fc.assert(
      fc.property(fc.nat(), (value) => {
        expect(parseDuration(formatDuration(value))).toBe(value);
      }),
    );
  });

  test("are written with the largest unit that fits", () => {
    expect([0, 1, 999, 1000, 1500, 60_000, 90_000, 3_600_000, 5_400_000].map(formatDuration)).toEqual(
      ["0s", "1ms", "999ms", "1s", "1500ms", "1m", "90s", "1h", "90m"], // prettier than 1.5h: whole numbers only
    );
  });
});

describe("sizes", () => {
  test.each([
    ["512B", 512],
    ["16KiB", 16_384],
    ["1.5KiB", 1536],
    ["1MiB", 1_048_576],
    ["1GiB", 1_073_741_824],
  ])("%s is %d bytes", (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  test.each(["", "16", "16K", "16kB", "16KB", "16kib", "16 KiB", "-1B", "B"])("%j is none", (text) => {
    expect(parseSize(text)).toBeUndefined();
  });

  test("what is written reads back as the same", () => {
    fc.assert(
      fc.property(fc.nat(), (value) => {
        expect(parseSize(formatSize(value))).toBe(value);
      }),
    );
  });
});

describe("listeners' addresses", () => {
  test.each([
    ["[::]:443", { address: "::", port: 443 }],
    ["[::1]:0", { address: "::1", port: 0 }],
    ["[fe80::1%eth0]:443", { address: "fe80::1%eth0", port: 443 }],
    ["127.0.0.1:65535", { address: "127.0.0.1", port: 65_535 }],
    ["*:443", { address: "*", port: 443 }],
  ])("%s", (text, address) => {
    expect(parseListenAddress(text)).toEqual(address);
    expect(formatListenAddress(address)).toBe(text);
  });

  test.each([
    "443", // no address
    ":443",
    "::1:443", // brackets are missing: the port can't be told
    "[::1]", // no port
    "[127.0.0.1]:443",
    "127.0.0.1:65536",
    "127.0.0.1:+1",
    "127.0.0.1:443 ",
    "127.1:443", // inet_aton forms
    "localhost:443", // names are never resolved
    "[*]:443",
    "",
  ])("%j is none", (text) => {
    expect(parseListenAddress(text)).toBeUndefined();
  });

  test("what is written reads back as the same", () => {
    const address = fc.oneof(fc.ipV4(), fc.ipV6(), fc.constant("*"));
    fc.assert(
      fc.property(address, fc.nat(65_535), (address, port) => {
        expect(parseListenAddress(formatListenAddress({ address, port }))).toEqual({ address, port });
      }),
    );
  });
});

describe("the nearest known word", () => {
  test.each([
    ["backlogg", "backlog"],
    ["Listeners", "listeners"],
    ["route", "routes"],
    ["defualt", "default"], // two letters exchanged are two changes
    ["xyz", undefined],
    ["", undefined],
  ])("%s: %s", (word, known) => {
    expect(nearest(word, ["listeners", "backlog", "routes", "default"])).toBe(known);
  });

  test("the distance is a metric", () => {
    const word = fc.string({ maxLength: 8 });
    fc.assert(
      fc.property(word, word, word, (a, b, c) => {
        expect(distance(a, a)).toBe(0);
        expect(distance(a, b)).toBe(distance(b, a));
        expect(distance(a, b) > 0).toBe(a !== b);
        expect(distance(a, c)).toBeLessThanOrEqual(distance(a, b) + distance(b, c));
      }),
    );
  });
});

test("a problem is one line, with what a terminal would obey in a visible form", () => {
  const problem = { file: "x.map", line: 3, column: 1, key: "a\nb", message: 'found "\x1b[31m\u009b\u202e\u2028é"' };
  expect(formatProblem(problem)).toBe('x.map:3:1: a\\u000ab: found "\\u001b[31m\\u009b\\u202e\\u2028é"');
});
