/** `status --watch`, on a terminal (script(1)) and without one. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Child } from "../support/child.js";
import { FakeDaemon } from "../support/fake-daemon.js";
import { Folder } from "../support/folder.js";
import { program } from "../support/programs.js";
import { someStatus } from "../support/some-status.js";
import { until } from "../support/wait.js";

const folder = new Folder();
const main = new URL("../../dist/cli/main.js", import.meta.url).pathname;
const path = folder.at("control.sock");
let daemon: FakeDaemon;

beforeAll(async () => {
  daemon = await FakeDaemon.start(path);
});
afterAll(() => daemon.stop());

const args = ["status", "--watch", "--interval", "0.1", "--control", path];
const command = [process.execPath, main, ...args].map((word) => `'${word}'`).join(" ");

/** A terminal of 80 by 24; what is typed is what is written to the child. The line is one for sh(1), as POSIX has it. */
class Terminal {
  readonly child: Child;
  text = "";

  constructor(line = command) {
    this.child = new Child(
      program("script"),
      ["--quiet", "--return", "--command", `stty rows 24 cols 80; ${line}; echo "status $?"; stty -a`, "/dev/null"],
      { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, SHELL: "/bin/sh", TERM: "xterm" } },
    );
    this.child.process.stdout!.on("data", (data) => {
      this.text += data;
    });
  }

  shows(what: string | RegExp): Promise<unknown> {
    return until(`${what} on the terminal`, () =>
      typeof what === "string" ? this.text.includes(what) : what.test(this.text),
    );
  }

  /** The last picture that has come whole. */
  get picture(): string[] {
    const last = [...this.text.matchAll(/\x1b\[H(.*?)\x1b\[J/gs)].at(-1)?.[1] ?? "";
    return last.split(/\r*\n/).map((line) => line.replaceAll("\x1b[K", ""));
  }

  type(text: string): void {
    this.child.process.stdin!.write(text);
  }
}

describe("on a terminal", () => {
  test.each([
    ["q", "q"],
    ["Ctrl-C", "\x03"],
  ])("it is drawn in place until %s, and the terminal is as before", async (_key, key) => {
    const terminal = new Terminal();
    await terminal.shows(/(?:\x1b\[H.*){3}/s);
    const { picture } = terminal;
    expect(picture[0]).toBe("every 0.1 s; q quits");
    expect(picture.length).toBeLessThanOrEqual(24);
    for (const line of picture) expect([...line].length).toBeLessThanOrEqual(80);
    terminal.type(key);
    await terminal.child.ended;
    expect(terminal.text.startsWith("\x1b[?1049h\x1b[?25l")).toBe(true);
    const after = terminal.text.split("\x1b[?25h\x1b[?1049l");
    expect(after).toHaveLength(2);
    expect(after[1]).toMatch(/^status 0\r\n/);
    expect(after[1]).toMatch(/ icanon .* echo /s);
  });

  test("a signal restores it, too", async () => {
    const terminal = new Terminal(`${command} & pid=$!; read line; kill $pid; wait $pid`);
    await terminal.shows("\x1b[H");
    terminal.type("\n");
    await terminal.child.ended;
    expect(terminal.text).toContain("\x1b[?25h\x1b[?1049l");
  });

  test("a daemon that goes and comes again is waited for", async () => {
    const terminal = new Terminal();
    await terminal.shows("1.2.3 running");
    await daemon.stop();
    await until("that it tries again", () => /^no daemon behind .*, trying again$/.test(terminal.picture[2] ?? ""));
    daemon = await FakeDaemon.start(path);
    daemon.controlled.status_ = someStatus({ version: "1.2.4", pid: 4001 });
    await terminal.shows("1.2.4 running");
    terminal.type("q");
    await terminal.child.ended;
  });

  test("another size is drawn at once", async () => {
    const terminal = new Terminal(
      `(until [ -e ${folder.at("resize")} ]; do sleep 0.05; done; stty rows 10 cols 60 < /dev/tty) & ${command.replace("'0.1'", "'3600'")}`,
    );
    await terminal.shows("BACKEND");
    folder.write("resize", "");
    // stty(1) sets rows and columns one after the other, and each may be drawn.
    const fits = (line: string) => [...line].length <= 60;
    await until("a smaller picture", () => terminal.picture.length === 10 && terminal.picture.every(fits));
    terminal.type("q");
    await terminal.child.ended;
  });
});

describe("without a terminal", () => {
  test("it prints a block each time, without control sequences, until SIGTERM", async () => {
    const child = new Child(process.execPath, [main, ...args]);
    await until("three blocks", () => child.lines.filter((line) => line.startsWith("sni-handoff ")).length >= 3);
    expect(await child.end()).toEqual({ status: 0, signal: null });
    expect(child.lines.join("\n")).not.toContain("\x1b");
  });

  test("as JSON it is an object a line", async () => {
    const child = new Child(process.execPath, [main, ...args, "--json"]);
    await until("three lines", () => child.lines.length >= 3);
    await child.end("SIGINT");
    for (const line of child.lines) expect(JSON.parse(line)).toHaveProperty("workers");
  });

  test("it ends with its reader", async () => {
    const child = new Child("bash", ["-c", `set -o pipefail; ${command} | head -n 1`]);
    expect(await child.ended).toEqual({ status: 0, signal: null });
  });

  test("no daemon is said on standard error, each time", async () => {
    const child = new Child(process.execPath, [main, ...args.slice(0, -1), folder.at("none.sock")]);
    await until("two lines", () => child.stderr.split("\n").length > 2);
    expect((await child.end()).status).toBe(0);
    expect(child.stderr).toMatch(/^no daemon, trying again: there is no control socket/);
    expect(child.lines).toEqual([]);
  });
});
