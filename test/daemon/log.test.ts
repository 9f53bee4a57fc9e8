import { execFileSync, type StdioOptions, spawn, spawnSync } from "node:child_process";
import { closeSync, constants, openSync, readSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { Child } from "../support/child.js";
import { runNode } from "../support/command-line.js";
import { Folder } from "../support/folder.js";
import { below } from "../support/trials.js";
import { until } from "../support/wait.js";

const log = fileURLToPath(new URL("../../dist/daemon/log.js", import.meta.url));
const addon = fileURLToPath(new URL("../../dist/native/addon.js", import.meta.url));

const folder = new Folder();

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

const LINES = 20_000;
/** Far more than a pipe and the log's own memory hold; then a turn of the loop, and word of it on standard error. */
const flood = `
  for (let i = 0; i < ${LINES}; i++) log.info({ event: "x", i }, "x".repeat(200));
  setTimeout(() => console.error("dropped", log.sink.dropped), 1);
`;
const node = (body: string) => ["--input-type=module", "--eval", program({ level: "info" }, body)];

test("a pipe that nobody reads blocks nothing; what could not be kept is counted, and the rest is whole", async () => {
  const path = folder.at("fifo");
  execFileSync("mkfifo", [path]);
  const reader = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const output = openSync(path, "w");
  const flags = 'console.error((await import("node:fs")).readFileSync("/proc/self/fdinfo/1", "utf8"));';
  const child = new Child(process.execPath, node(`${flags} ${flood} setInterval(() => {}, 1000);`), {
    stdio: ["ignore", output, "pipe"],
  });
  closeSync(output);
  const dropped = await until("the loop's next turn", () => /dropped (\d+)/.exec(child.stderr)?.[1]);
  expect(Number(dropped)).toBeGreaterThan(LINES / 2);
  // Whoever shares the pipe still has a blocking one: fcntl(2).
  const shared = Number.parseInt(/^flags:\s+(\d+)/m.exec(child.stderr)![1]!, 8);
  expect(shared & constants.O_NONBLOCK).toBe(0);

  let text = "";
  const chunk = Buffer.alloc(1 << 16);
  const read = () => {
    try {
      text += chunk.toString("latin1", 0, readSync(reader, chunk));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
    }
    return text.includes("log.dropped") && text.endsWith("\n");
  };
  await until("the line about what was dropped", read);
  const lines = text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  const said = lines.pop();
  expect(said).toMatchObject({ level: "warn", event: "log.dropped", lines: Number(dropped) });
  expect(lines.map(({ i }) => i)).toEqual(Array.from({ length: LINES - Number(dropped) }, (_, i) => i));
  await child.end();
  closeSync(reader);
});

/** Status of a program that floods its log, and ends by itself. */
async function status(stdio: StdioOptions, before = ""): Promise<number | null> {
  const ending = `${before} ${flood} setTimeout(() => process.exit(7), 300);`;
  const child = spawn(process.execPath, node(ending), { stdio });
  return new Promise((resolve) => child.on("exit", resolve));
}

test("a process whose log is blocked can end", async () => {
  const path = folder.at("blocked");
  execFileSync("mkfifo", [path]);
  const both = openSync(path, constants.O_RDWR);
  expect(await status(["ignore", both, "ignore"])).toBe(7);
  closeSync(both);
  // Node's "pipe" is a socket, as journald's is. Nothing reads it here.
  expect(await status(["ignore", "pipe", "ignore"])).toBe(7);
  // The process before an upgrade has put the flags of the socket that both have back.
  const blocking = `(await import(${JSON.stringify(addon)})).native.setNonBlocking(1, false);`;
  expect(await status(["ignore", "pipe", "ignore"], blocking)).toBe(7);
});

test("a full disk stops nothing", async () => {
  const full = openSync("/dev/full", "w");
  expect(await status(["ignore", full, "ignore"])).toBe(7);
  closeSync(full);
});

test("flush waits for a slow reader", async () => {
  // Not for ever: what a busy machine keeps a reader from reading for a second is lost by right.
  await below("milliseconds that it waited", 990, (count) => {
    const begun = folder.at(`flush-${count}`);
    const body = `
      import { writeFileSync } from "node:fs";
      for (let i = 0; i < 3000; i++) log.info({}, "x".repeat(200));
      writeFileSync(${JSON.stringify(begun)}, "");
      const begun = performance.now();
      log.flush(() => { console.error(performance.now() - begun); process.exit(0); });`;
    const command = `"$0" "$@" | (until [ -e "${begun}" ]; do sleep 0.01; done; sleep 0.2; wc -l)`;
    const run = spawnSync("bash", ["-c", command, process.execPath, ...node(body)], { encoding: "utf8" });
    const waited = Number(run.stderr);
    if (!(waited >= 990)) expect([waited, Number(run.stdout)]).toEqual([expect.any(Number), 3000]);
    return waited;
  });
});

/** Escape sequences, ends of lines, a C1 control, and a turn of the direction of writing. */
const hostile = "\x1b[2Ja\r\nb\x7f\x9b\u202e\u2028ü";
const logHostile = `log.info({ event: "x", field: ${JSON.stringify(hostile)} }, ${JSON.stringify(hostile)});`;

test("no text can move a terminal's cursor or begin a line", async () => {
  const { stdout } = await run({ level: "info", pretty: true }, logHostile);
  const message = String.raw`\x1b[2Ja\x0d\x0ab\x7f\u009b\u202e\u2028ü`;
  const field = String.raw`\u001b[2Ja\r\nb\u007f\u009b\u202e\u2028ü`;
  expect(stdout.slice(stdout.indexOf("]") + 1)).toBe(` INFO: ${message} {"event":"x","field":"${field}"}\n`);
});

test("JSON has every text whole, and no control character but the end of the line", async () => {
  const { stdout } = await run({ level: "info" }, logHostile);
  expect(stdout).toMatch(/^[\x20-\x7eü]*\n$/);
  expect(JSON.parse(stdout)).toMatchObject({ field: hostile, message: hostile });
});
