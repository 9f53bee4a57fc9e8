import { randomBytes } from "node:crypto";
import { afterEach, describe, expect, it } from "vitest";
import { Notifier } from "../../src/daemon/systemd/notify.js";
import { native } from "../../src/native/addon.js";
import { Folder } from "../support/folder.js";
import { until } from "../support/wait.js";

const folder = new Folder();
const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** A service manager's socket, and what came to it. */
const manager = (address: string): string[] => read(native.listenUnix(address, "dgram", { backlog: 0 }));

function read(descriptor: number): string[] {
  const messages: string[] = [];
  const watch = native.watchMessages(
    descriptor,
    (count) => {
      const { buffer, stride, lengths } = watch.batch;
      for (let i = 0; i < count; i++) {
        messages.push(Buffer.from(buffer.subarray(i * stride, i * stride + lengths[i]!)).toString());
      }
      return 0;
    },
    () => {},
  );
  closers.push(() => {
    watch.close();
    native.close(descriptor);
  });
  return messages;
}

describe.each([
  ["a path", () => folder.at(`notify-${randomBytes(4).toString("hex")}`)],
  ["a path of the longest kind", () => folder.at("n".repeat(107 - folder.path.length - 1))],
  ["an abstract address", () => `@sni-handoff-test-${randomBytes(8).toString("hex")}`],
])("NOTIFY_SOCKET, %s", (_, address) => {
  it("is told each state in a datagram of its own", async () => {
    const path = address();
    const messages = manager(path);
    const failures: Error[] = [];
    const notifier = Notifier.fromEnvironment({ NOTIFY_SOCKET: path }, (error) => failures.push(error))!;
    const before = process.hrtime.bigint() / 1000n;
    const sent = [
      notifier.status("starting"),
      notifier.ready("ready on [::]:443"),
      notifier.ready(),
      notifier.reloading("reading"),
      notifier.watchdog(),
      notifier.extendTimeout(1500.5),
      notifier.mainPid(77),
      notifier.stopping("3 left\nREADY=1"),
    ];
    const after = process.hrtime.bigint() / 1000n;
    expect(sent).toEqual(sent.map(() => true));
    await until("the messages", () => messages.length === sent.length);
    const time = BigInt(/MONOTONIC_USEC=(\d+)/.exec(messages[3]!)![1]!);
    expect(time >= before && time <= after).toBe(true);
    expect(messages).toEqual([
      "STATUS=starting\n",
      "READY=1\nSTATUS=ready on [::]:443\n",
      "READY=1\n",
      `RELOADING=1\nMONOTONIC_USEC=${time}\nSTATUS=reading\n`,
      "WATCHDOG=1\n",
      "EXTEND_TIMEOUT_USEC=1501\n",
      "MAINPID=77\n",
      "STOPPING=1\nSTATUS=3 left READY=1\n",
    ]);
    expect(failures).toEqual([]);
  });
});

describe("a service manager that is not there", () => {
  it.each([
    ["a path", () => folder.at("absent"), /ENOENT/],
    ["an abstract address", () => "@sni-handoff-test-absent", /ECONNREFUSED/],
    ["another kind of address", () => "vsock:2:1234", /a path or "@name" is needed/],
    ["a path that is too long", () => `/${"x".repeat(200)}`, /./],
  ])("is told about once, and ends nothing: %s", (_, address, reason) => {
    const failures: string[] = [];
    const notifier = Notifier.fromEnvironment({ NOTIFY_SOCKET: address() }, ({ message }) => failures.push(message))!;
    expect([notifier.ready(), notifier.watchdog(), notifier.stopping()]).toEqual([false, false, false]);
    expect(failures).toHaveLength(1);
    expect(failures[0]).toMatch(`cannot notify the service manager at ${address()} (NOTIFY_SOCKET): `);
    expect(failures[0]).toMatch(reason);
  });

  it("is told about again when it had come back", () => {
    const path = folder.at("restarted");
    const failures: Error[] = [];
    const notifier = Notifier.fromEnvironment({ NOTIFY_SOCKET: path }, (error) => failures.push(error))!;
    notifier.watchdog();
    manager(path);
    expect(notifier.watchdog()).toBe(true);
    for (const close of closers.splice(0)) close();
    expect(notifier.watchdog()).toBe(false);
    expect(failures).toHaveLength(2);
  });
});

describe("a service manager whose queue is full", () => {
  it("is told everything, in order, when it reads again", async () => {
    const path = folder.at("full");
    const descriptor = native.listenUnix(path, "dgram", { backlog: 0 });
    const failures: Error[] = [];
    const notifier = Notifier.fromEnvironment({ NOTIFY_SOCKET: path }, (error) => failures.push(error))!;
    const states = Array.from({ length: 700 }, (_, i) => `state ${i}`);
    expect(states.map((state) => notifier.status(state))).toEqual(states.map(() => true));
    const messages = read(descriptor);
    await until("the messages", () => messages.length === states.length);
    expect(messages).toEqual(states.map((state) => `STATUS=${state}\n`));
    expect(failures).toEqual([]);
  });

  it("and never reads: what it is to be told does not grow for ever", () => {
    const path = folder.at("never");
    const descriptor = native.listenUnix(path, "dgram", { backlog: 0 });
    closers.push(() => native.close(descriptor));
    const failures: Error[] = [];
    const notifier = Notifier.fromEnvironment({ NOTIFY_SOCKET: path }, (error) => failures.push(error))!;
    for (let i = 0; i < 3000; i++) notifier.watchdog();
    expect(failures.map(({ message }) => message)).toEqual([expect.stringMatching(/EAGAIN/)]);
  });
});

describe("the environment", () => {
  it.each([
    ["absent", {}],
    ["empty", { NOTIFY_SOCKET: "" }],
  ])("has no service manager when NOTIFY_SOCKET is %s", (_, environment) => {
    expect(Notifier.fromEnvironment(environment)).toBeUndefined();
  });

  it("keeps NOTIFY_SOCKET from children, but for those that are meant to have it", () => {
    const environment: NodeJS.ProcessEnv = { NOTIFY_SOCKET: "/run/notify", PATH: "/bin" };
    const notifier = Notifier.fromEnvironment(environment)!;
    expect(environment).toEqual({ PATH: "/bin" });
    expect(notifier.environment).toEqual({ NOTIFY_SOCKET: "/run/notify" });
  });
});
