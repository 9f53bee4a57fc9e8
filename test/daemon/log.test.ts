import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runNode } from "../support/command-line.js";

const log = fileURLToPath(new URL("../../dist/daemon/log.js", import.meta.url));

/** A program with a log. */
const program = (options: object, body: string) =>
  `import { createLog } from ${JSON.stringify(log)}; const log = await createLog(${JSON.stringify(options)}); ${body}`;
const run = (options: object, body: string) => runNode(["--input-type=module", "--eval", program(options, body)]);

test("each line is a JSON object with level, time, event and message, and no others of its own", async () => {
  const { stdout } = await run({ level: "info" }, 'log.info({ event: "ready", listeners: ["[::]:443"] }, "ready");');
  const line = JSON.parse(stdout);
  expect(Object.keys(line)).toEqual(["level", "time", "event", "listeners", "message"]);
  expect(line).toMatchObject({ level: "info", event: "ready", listeners: ["[::]:443"], message: "ready" });
  expect(new Date(line.time).toISOString()).toBe(line.time);
});

test("lines below the level are left out; the level may change", async () => {
  const body = 'log.info({}, "1"); log.warn({}, "2"); log.level = "debug"; log.debug({}, "3");';
  const { stdout } = await run({ level: "warn" }, body);
  expect(
    stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).message),
  ).toEqual(["2", "3"]);
});

test("on a terminal a line is for people", async () => {
  const { stdout } = await run({ level: "info", pretty: true }, 'log.warn({ event: "x.y", path: "/a" }, "gone");');
  expect(stdout).toMatch(/^\[\d\d:\d\d:\d\d\.\d{3}\] WARN: gone \{"event":"x\.y","path":"\/a"\}\n$/);
});

test.each([{ pretty: false }, { pretty: true }])(
  "what was logged before a crash is there ($pretty)",
  async (options) => {
    const { status, stdout } = await run({ level: "info", ...options }, 'log.info({}, "last words"); process.abort();');
    expect(status).toBe(null);
    expect(stdout).toContain("last words");
  },
);

test("nobody reads the log any more: the program goes on", () => {
  const body = `setInterval(() => log.info({}, "x".repeat(1000)), 1); setTimeout(() => process.exit(7), 500);`;
  const command = `"$0" --input-type=module --eval "$1" | head -c 1 >/dev/null; exit "\${PIPESTATUS[0]}"`;
  const exec = () => execFileSync("bash", ["-c", command, process.execPath, program({ level: "info" }, body)]);
  expect(exec).toThrow(expect.objectContaining({ status: 7 }));
});
