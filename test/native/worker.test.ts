import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { native } from "../../src/native/addon.js";
import { Child } from "../support/child.js";
import { until } from "../support/wait.js";
import { fixture } from "./fixture.js";
import { client, countDescriptors, listener, newLoop, pair } from "./resources.js";

countDescriptors();

interface Running {
  readonly worker: Worker;
  readonly messages: unknown[];
  readonly errors: Error[];
  readonly exit: Promise<number>;
}

function start(scenario: string, data: object = {}): Running {
  const worker = new Worker(fixture, { workerData: { scenario, ...data } });
  const messages: unknown[] = [];
  const errors: Error[] = [];
  worker.on("message", (message) => messages.push(message));
  worker.on("error", (error) => errors.push(error as Error));
  return { worker, messages, errors, exit: new Promise((resolve) => worker.on("exit", resolve)) };
}

function message(running: Running, text: string): Promise<unknown> {
  return until(`"${text}"`, () => {
    if (running.errors.length > 0) throw running.errors[0];
    return running.messages.find((each) => each === text || (each as { type?: string }).type === text);
  });
}

describe("a worker that blocks in wait", () => {
  it("accepts connections, and hears messages in between", async () => {
    const { fd, port } = listener();
    const running = start("serve", { listener: fd });
    await message(running, "blocks");
    for (let i = 1; i <= 3; i++) {
      client(port);
      expect(await message(running, `accepted ${i}`)).toBeDefined();
      running.worker.postMessage(`ping ${i}`);
      expect(await message(running, `pong ping ${i}`)).toBeDefined();
    }
    running.worker.postMessage("stop");
    expect(await running.exit).toBe(0);
    expect(running.errors).toEqual([]);
  });

  it("runs timers, immediates, promises and the thread pool's results", async () => {
    const running = start("phases");
    for (const each of ["tick", "microtask", "immediate", "timer 20", "timer 40", "file", "interval 3"]) {
      await message(running, each);
    }
    running.worker.postMessage("stop");
    expect(await running.exit).toBe(0);
  });

  it("sleeps: it turns only when libuv or an event wants it", async () => {
    const running = start("count");
    await message(running, "blocks");
    await message(running, "timer"); // after 300 ms
    const { turns, waits } = (await message(running, "counts")) as { turns: number; waits: number };
    expect(turns).toBeLessThan(30);
    expect(waits).toBeLessThan(60);
    running.worker.postMessage("stop");
    expect(await running.exit).toBe(0);
  });

  it("is terminated at once, time and again", async () => {
    for (let i = 0; i < 20; i++) {
      const running = start("block");
      await message(running, "blocks");
      expect(await running.worker.terminate()).toBe(1);
      expect(running.errors).toEqual([]);
    }
  });

  it("is terminated while it starts, wherever it is", async () => {
    const child = new Child(process.execPath, [fixture, "main-terminates-early"]);
    expect(await child.ended).toEqual({ status: 0, signal: null });
    expect(child.lines).toEqual(["0 epoll sets left"]);
  });

  it("is terminated with open watches", async () => {
    for (let i = 0; i < 5; i++) {
      const running = start("watches", { descriptors: pair() });
      await message(running, "blocks");
      await running.worker.terminate();
    }
  });

  it("ends by process.exit within", async () => {
    const running = start("exit");
    expect(await running.exit).toBe(7);
    expect(running.errors).toEqual([]);
  });

  it("ends with the exception of a turn", async () => {
    const running = start("throw");
    expect(await running.exit).toBe(1);
    expect(running.errors.map((error) => error.message)).toEqual(["thrown by turn"]);
  });

  it("runs no more after an exception that was handled", async () => {
    const running = start("throw-handled");
    expect(await running.exit).toBe(0);
    expect(running.messages).toEqual(["turn", "uncaught thrown by turn"]);
  });

  it("is stopped by its own turn, and can run again", async () => {
    const running = start("stop-and-run");
    expect(await running.exit).toBe(0);
    expect(running.messages).toEqual(["first", "ERR_ALREADY_RUNNING", "second", "destroyed"]);
  });

  it("shares a listener with another: every connection is accepted once", async () => {
    const { fd, port } = listener();
    const workers = [start("serve", { listener: fd }), start("serve", { listener: fd })];
    await Promise.all(workers.map((each) => message(each, "blocks")));
    for (let i = 0; i < 50; i++) client(port);
    const accepted = () =>
      workers.flatMap(({ messages }) => messages.filter((each) => String(each).startsWith("accepted"))).length;
    await until("all connections", () => accepted() >= 50);
    for (const { worker } of workers) worker.postMessage("stop");
    await Promise.all(workers.map(({ exit }) => exit));
    expect(accepted()).toBe(50);
  });
});

describe("a process with a worker that blocks in wait", () => {
  it.each([
    ["main-exits", { status: 7, signal: null }],
    ["main-throws", { status: 1, signal: null }],
    ["main-ends", { status: 0, signal: null }],
    ["main-terminated", { status: null, signal: "SIGTERM" }],
  ])("ends: %s", async (scenario, ended) => {
    for (let i = 0; i < 3; i++) {
      const child = new Child(process.execPath, [fixture, scenario]);
      if (scenario === "main-terminated") {
        await child.line("its worker", (line) => line === "blocks");
        child.process.kill("SIGTERM");
      }
      expect(await child.ended).toEqual(ended);
    }
  });

  it("writes the worker's profile at its end", async () => {
    const { mkdtemp, readdir, rm } = await import("node:fs/promises");
    const { tmpdir } = await import("node:os");
    const folder = await mkdtemp(`${tmpdir()}/sni-handoff-profile-`);
    const child = new Child(process.execPath, ["--cpu-prof", `--cpu-prof-dir=${folder}`, fixture, "main-stops-worker"]);
    expect(await child.ended).toEqual({ status: 0, signal: null });
    expect(await readdir(folder)).toHaveLength(2);
    await rm(folder, { recursive: true });
  });
});

describe("the main thread", () => {
  it("can run a loop too", async () => {
    const loop = newLoop();
    let turns = 0;
    let timers = 0;
    setTimeout(() => timers++, 10);
    loop.run(() => {
      turns++;
      while (!loop.flags[0]) loop.wait(-1, 0);
    });
    await until("a timer", () => timers === 1);
    loop.stop();
    loop.stop();
    expect(turns).toBeGreaterThan(0);
    expect(native).toBeDefined();
  });

  it("is freed of loops that nobody has any more", async () => {
    const child = new Child(process.execPath, ["--expose-gc", fixture, "collect"]);
    expect(await child.ended).toEqual({ status: 0, signal: null });
    expect(child.lines).toEqual(["0 descriptors left"]);
  });
});
