import { describe, expect, it } from "vitest";
import { type MessageWatch, native, ReceiveEnd } from "../../src/native/addon.js";
import { Child } from "../support/child.js";
import { until } from "../support/wait.js";
import { fixture } from "./fixture.js";
import { closeOwned, countDescriptors, isOpen, own, pair, tcpPair, thrown } from "./resources.js";

countDescriptors();

function send(fd: number, ...texts: string[]): void {
  for (const text of texts) expect(native.sendMessage(fd, Buffer.from(text))).toBe(0);
}

describe("watch", () => {
  it("calls ready with the events that are there, of those that are selected", async () => {
    const [a, b] = pair();
    const seen: number[] = [];
    const watch = native.watch(a, (events) => {
      seen.push(events);
      watch.select(0);
    });
    send(b, "x");
    await until("readable", () => seen.length === 1);
    watch.select(2);
    await until("writable", () => seen.length === 2);
    watch.select(3);
    await until("both", () => seen.length === 3);
    expect(seen).toEqual([1, 2, 3]);
    watch.close();
    watch.close();
    watch.select(1);
    watch.ref();
    watch.unref();
  });

  it("lets the descriptor be closed at once, and its number be watched again", async () => {
    const [a, b] = pair();
    native.watch(a, () => {}).close();
    closeOwned(a);
    const [c, d] = pair();
    expect(c).toBe(a); // the kernel gives the lowest number
    let calls = 0;
    const watch = native.watch(c, () => {
      calls++;
      watch.close();
    });
    send(d, "x");
    await until("the new one's event", () => calls === 1);
    closeOwned(b);
  });

  it("tells the end and errors of a socket as events, again and again", async () => {
    const [a, b] = pair();
    send(a, "unread"); // so that b's close resets a
    let calls = 0;
    const watch = native.watch(a, (events) => {
      expect(events).toBe(1);
      if (++calls === 3) watch.close();
    });
    closeOwned(b);
    await until("three calls", () => calls === 3);
  });

  it("refuses what epoll cannot watch, and a second watch of one descriptor", async () => {
    const { openSync } = await import("node:fs");
    expect(thrown(() => native.watch(own(openSync("/etc/passwd", "r")), () => {}))).toMatchObject({
      name: "SystemCallError",
      code: "EPERM",
    });
    expect(thrown(() => native.watch(1 << 20, () => {})).code).toBe("EBADF");
    const [a] = pair();
    const watch = native.watch(a, () => {});
    expect(thrown(() => native.watch(a, () => {})).code).toBe("EEXIST");
    expect(thrown(() => watch.select(4)).message).toMatch(/^events must be /);
    watch.close();
  });

  it("runs ticks and microtasks behind each call", async () => {
    const [a, b] = pair();
    const order: string[] = [];
    const watch = native.watch(a, () => {
      order.push("ready");
      process.nextTick(() => order.push("tick"));
      queueMicrotask(() => order.push("microtask"));
      if (order.length > 3) watch.close();
    });
    send(b, "x");
    await until("two calls", () => order.length === 6);
    expect(order).toEqual(["ready", "tick", "microtask", "ready", "tick", "microtask"]);
  });

  it.each([
    ["watch-keeps-alive", { status: 0, signal: null }, ["read", "closed"]],
    ["watch-unref", { status: 0, signal: null }, ["end"]],
    ["watch-throws", { status: 0, signal: null }, ["uncaught thrown by ready", "uncaught thrown by ready"]],
    ["watch-collected", { status: 0, signal: null }, ["still called", "freed"]],
  ])("in a process of its own: %s", async (scenario, ended, lines) => {
    const child = new Child(process.execPath, ["--expose-gc", fixture, scenario]);
    expect(await child.ended).toEqual(ended);
    expect(child.stderr).toBe("");
    expect(child.lines).toEqual(lines);
  });
});

describe("watchMessages", () => {
  function texts(watch: MessageWatch, count: number): string[] {
    const { buffer, stride, lengths } = watch.batch;
    return Array.from({ length: count }, (_, i) =>
      Buffer.from(buffer.subarray(i * stride, i * stride + lengths[i]!)).toString(),
    );
  }

  it("gives a batch, then each delivery, with ticks only behind the first", async () => {
    const [a, b] = pair();
    const order: string[] = [];
    const watch = native.watchMessages(
      a,
      (count) => {
        order.push(`batch ${texts(watch, count)}`);
        process.nextTick(() => order.push("tick of batch"));
        queueMicrotask(() => order.push("microtask of batch"));
        return count === 3 ? 2 : 0;
      },
      (i) => {
        order.push(`each ${i}`);
        process.nextTick(() => order.push(`tick of ${i}`));
      },
    );
    send(b, "one", "two", "three");
    await until("all", () => order.includes("tick of 1"));
    send(b, "four");
    await until("the next", () => order.filter((line) => line === "tick of batch").length === 2);
    expect(order).toEqual([
      "batch one,two,three",
      "each 0",
      "tick of batch",
      "tick of 0",
      "microtask of batch",
      "each 1",
      "tick of 1",
      "batch four",
      "tick of batch",
      "microtask of batch",
    ]);
    watch.close();
  });

  it("gives the end once: with the last messages, or by itself", async () => {
    for (const words of [["last"], []]) {
      const [a, b] = pair();
      const calls: unknown[] = [];
      const watch = native.watchMessages(
        a,
        (count) => {
          calls.push([texts(watch, count), [...watch.batch.end]]);
          return 0;
        },
        () => {},
      );
      send(b, ...words);
      closeOwned(b);
      await until("the end", () => calls.length > 0);
      // It is not called again, even when asked to go on.
      watch.select(1);
      for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
      expect(calls).toEqual([[words, [ReceiveEnd.CLOSED, 0, 0]]]);
      watch.close();
      closeOwned(a);
    }
  });

  it("reads messages behind a reset", async () => {
    const [a, b] = pair();
    const calls: unknown[] = [];
    send(a, "never read by the other side");
    send(b, "one", "two");
    const watch = native.watchMessages(
      a,
      (count) => {
        calls.push([texts(watch, count), [...watch.batch.end]]);
        return 0;
      },
      () => {},
    );
    closeOwned(b);
    await until("the end", () => calls.length === 1);
    expect(calls).toEqual([
      [
        ["one", "two"],
        [ReceiveEnd.CLOSED, 0, 1],
      ],
    ]);
    watch.close();
  });

  it("reads more than a batch, and everything in order", async () => {
    const [a, b] = pair();
    const all = Array.from({ length: 250 }, (_, i) => String(i));
    let sent = 0;
    while (sent < all.length && native.sendMessage(b, Buffer.from(all[sent]!)) === 0) sent++;
    const received: string[] = [];
    const counts: number[] = [];
    const watch = native.watchMessages(
      a,
      (count) => {
        counts.push(count);
        received.push(...texts(watch, count));
        for (let i = 0; i < count && sent < all.length; i++) send(b, all[sent++]!);
        return 0;
      },
      () => {},
    );
    await until("all", () => received.length === all.length);
    expect(received).toEqual(all);
    expect(Math.max(...counts)).toBe(32);
    watch.close();
  });

  it("is paused and resumed by select", async () => {
    const [a, b] = pair();
    const received: string[] = [];
    const watch = native.watchMessages(
      a,
      (count) => {
        received.push(...texts(watch, count));
        watch.select(0);
        return 0;
      },
      () => {},
    );
    for (let i = 0; i < 40; i++) send(b, String(i));
    await until("a batch", () => received.length > 0);
    for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(received).toHaveLength(32);
    watch.select(1);
    await until("the rest", () => received.length === 40);
    expect(thrown(() => watch.select(2)).message).toMatch(/^events must be an integer from 0 to 1/);
    watch.close();
  });

  it("goes on with the deliveries asked for when it is closed in between", async () => {
    for (const where of ["batch", "each 0", "each 1"]) {
      const [a, b] = pair();
      const { fd } = await tcpPair();
      const delivered: number[] = [];
      const watch = native.watchMessages(
        a,
        (count) => {
          if (where === "batch") watch.close();
          return count;
        },
        (i) => {
          if (where === `each ${i}`) watch.close();
          delivered.push(i);
          native.close(watch.batch.descriptors[i]!);
        },
      );
      for (let i = 0; i < 3; i++) expect(native.sendMessage(b, Buffer.from("x"), [fd])).toBe(0);
      await until("all deliveries", () => delivered.length === 3);
      closeOwned(a);
      expect(isOpen(a)).toBe(false);
      await new Promise((resolve) => setImmediate(resolve));
      expect(delivered).toEqual([0, 1, 2]);
    }
  });

  it.each([
    ["messages-throw-each", ["each 0", "uncaught 0", "each 1", "uncaught 1", "each 2", "uncaught 2", "end"]],
    ["messages-throw-batch", ["uncaught batch", "batch again"]],
    ["messages-wrong-answer", ["uncaught onBatch's result must be a number", "batch again"]],
  ])("in a process of its own: %s", async (scenario, lines) => {
    const child = new Child(process.execPath, [fixture, scenario]);
    expect(await child.ended).toEqual({ status: 0, signal: null });
    expect(child.stderr).toBe("");
    expect(child.lines).toEqual(lines);
  });

  it("ends the process at an exception that nobody handles", async () => {
    const child = new Child(process.execPath, [fixture, "messages-unhandled"]);
    expect(await child.ended).toEqual({ status: 1, signal: null });
    expect(child.stderr).toContain("Error: thrown by each 0");
    expect(child.lines).toEqual(["each 0"]);
  });
});
