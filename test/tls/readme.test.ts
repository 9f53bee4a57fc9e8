import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ALERT_BY_REASON, parseClientHello } from "../../src/tls/index.js";

const readme = readFileSync(new URL("../../src/tls/README.md", import.meta.url), "utf8");

test("the manual's table has every reason, in order, with the alert that is sent", () => {
  const rows = [...readme.matchAll(/^\| `(\w+)` \| (\w+) \| .+ \|$/gm)].map(([, reason, alert]) => [reason, alert]);
  expect(rows).toEqual(Object.entries(ALERT_BY_REASON));
});

test("the manual's bounds of maxLength are the parser's", () => {
  const bounds = readme
    .match(/(\d+)\.\.(\d+), default (\d+); another value/)!
    .slice(1, 3)
    .map(Number);
  for (const [bound, outside] of [
    [bounds[0], bounds[0] - 1],
    [bounds[1], bounds[1] + 1],
  ]) {
    expect(parseClientHello(new Uint8Array(0), { maxLength: bound })).toEqual({ status: "partial", needed: 1 });
    expect(() => parseClientHello(new Uint8Array(0), { maxLength: outside })).toThrow(RangeError);
  }
});
