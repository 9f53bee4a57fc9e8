import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { openSync } from "node:fs";
import { createServer, type Server, Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { parseListenAddress } from "../../src/daemon/configuration/addresses.js";
import { compileListeners } from "../../src/daemon/configuration/compile.js";
import type { ListenerSettings } from "../../src/daemon/configuration/index.js";
import { Listeners } from "../../src/daemon/listeners.js";
import { isBoundTo } from "../../src/daemon/systemd/bound-to.js";
import { PassedSockets } from "../../src/daemon/systemd/listeners.js";
import { HandoffError } from "../../src/errors.js";
import type { PassedDescriptor } from "../../src/handoff/activation.js";
import { native, type TcpListenOptions } from "../../src/native/addon.js";
import { Folder } from "../support/folder.js";

const folder = new Folder();
const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

const own = (descriptor: number): number => {
  closers.push(() => native.close(descriptor));
  return descriptor;
};

/** As systemd would make it. */
function listening(address: string, options: Partial<TcpListenOptions> = {}): { descriptor: number; port: number } {
  const descriptor = own(native.listenTcp({ address, port: 0, backlog: 4, ...options }));
  return { descriptor, port: native.localAddress(descriptor).port };
}

function configured(...addresses: string[]): ListenerSettings[] {
  return compileListeners({
    listeners: addresses.map((address) => ({
      address: parseListenAddress(address)!,
      protocol: "tls",
      backlog: 4096,
      v6Only: false,
      freebind: false,
      deferAccept: 1000,
      keepAlive: false,
    })),
  });
}

function thrown(act: () => unknown): HandoffError {
  try {
    act();
  } catch (error) {
    return error as HandoffError;
  }
  throw new Error("nothing was thrown");
}

async function unixStream(path: string): Promise<number> {
  const server: Server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  closers.push(() => server.close());
  return (server as unknown as { _handle: { fd: number } })._handle.fd;
}

describe("where a socket is bound", () => {
  it.each([
    ["127.0.0.1", "127.0.0.1:", true],
    ["0.0.0.0", "0.0.0.0:", true],
    ["::1", "[::1]:", true],
    ["::1", "[0:0:0:0:0:0:0:1]:", true],
    ["::", "[::]:", true],
    ["::", "*:", true],
    ["0.0.0.0", "*:", true],
    ["127.0.0.1", "[::ffff:127.0.0.1]:", true],
    ["127.0.0.1", "0.0.0.0:", false],
    ["127.0.0.1", "*:", false],
    ["0.0.0.0", "[::]:", false],
  ])("%s is what is configured as %s: %s", (bound, address, expected) => {
    const { descriptor, port } = listening(bound, bound === "::" ? { v6Only: false } : {});
    expect(isBoundTo(descriptor, configured(`${address}${port}`)[0]!)).toBe(expected);
    expect(isBoundTo(descriptor, configured(`${address}${port === 1 ? 2 : port - 1}`)[0]!)).toBe(false);
  });
});

/** What there is to say once the configuration is in force. */
function warnings(settings: ListenerSettings[], passed: PassedDescriptor[]): string[] {
  const sockets = new PassedSockets(passed);
  const listeners = new Listeners(sockets.listeners);
  const change = listeners.prepare(settings);
  change.commit();
  for (const { descriptor, source } of change.added) if (source === "configuration") own(descriptor);
  return sockets.warnings(settings, listeners);
}

describe("a passed socket", () => {
  it("that is configured is used, and nothing is said", () => {
    const { descriptor, port } = listening("::1");
    const sockets = new PassedSockets([{ descriptor, name: "web" }]);
    expect(sockets.listeners).toEqual([{ descriptor, source: "systemd" }]);
    expect(sockets.control).toBeUndefined();
    expect(warnings(configured(`[::1]:${port}`), [{ descriptor, name: "web" }])).toEqual([]);
  });

  it("that nobody is configured for is named, with what would help", () => {
    const { descriptor, port } = listening("127.0.0.1");
    expect(warnings(configured("127.0.0.2:0", "[::1]:0"), [{ descriptor, name: "web" }])).toEqual([
      `nobody accepts on 127.0.0.1:${port}, which the service manager passed as "web": its clients will wait in vain; add it to "listeners" (there: 127.0.0.2:0, [::1]:0; each takes one socket) or take it out of the .socket unit and restart that`,
    ]);
  });

  it("is another's when a second one is bound to the same address", () => {
    const { descriptor, port } = listening("127.0.0.1");
    const passed = [
      { descriptor, name: "web" },
      { descriptor: own(native.duplicate(descriptor)), name: "twice" },
    ];
    expect(warnings(configured(`127.0.0.1:${port}`), passed)).toEqual([expect.stringContaining('passed as "twice"')]);
  });

  it("that leaves out a family which is configured is warned of", () => {
    const six = listening("::", { v6Only: true });
    expect(warnings(configured(`[::]:${six.port}`), [{ descriptor: six.descriptor, name: "web" }])).toEqual([
      `[::]:${six.port}: the socket passed as "web" takes no IPv4 clients: BindIPv6Only=both in the .socket unit`,
    ]);
    const only = configured(`[::]:${six.port}`).map((each) => ({
      ...each,
      options: { ...each.options, v6Only: true },
    }));
    expect(warnings(only, [{ descriptor: six.descriptor, name: "web" }])).toEqual([]);
  });
});

describe("a passed unix socket", () => {
  it("with the name control is the control endpoint's", async () => {
    const path = folder.at("control.sock");
    const descriptor = await unixStream(path);
    const sockets = new PassedSockets([{ descriptor, name: "control" }]);
    expect(sockets.control).toEqual({ descriptor, path });
    expect(sockets.listeners).toEqual([]);
    expect(sockets.warnings([], { all: [], unused: [] })).toEqual([]);
  });

  it("with another name, or a second one, is named", async () => {
    const first = await unixStream(folder.at("first.sock"));
    const second = await unixStream(folder.at("second.sock"));
    const other = await unixStream(folder.at("other.sock"));
    const sockets = new PassedSockets([
      { descriptor: other, name: "web" },
      { descriptor: first, name: "control" },
      { descriptor: second, name: "control" },
    ]);
    expect(sockets.control?.path).toBe(folder.at("first.sock"));
    expect(sockets.warnings([], { all: [], unused: [] })).toEqual([
      expect.stringContaining(`nobody accepts on ${folder.at("other.sock")}`),
      expect.stringContaining(`nobody accepts on ${folder.at("second.sock")}`),
    ]);
  });
});

describe("a passed descriptor of the wrong kind is an error that says what is needed", () => {
  const connected = async (): Promise<number> => {
    const server = createServer().listen(0, "127.0.0.1");
    const socket = new Socket();
    closers.push(() => {
      socket.destroy();
      server.close();
    });
    await new Promise<void>((resolve) => server.once("listening", resolve));
    await new Promise<void>((resolve) =>
      socket.connect((server.address() as { port: number }).port, "127.0.0.1", resolve),
    );
    return (socket as unknown as { _handle: { fd: number } })._handle.fd;
  };
  const datagrams = async (): Promise<number> => {
    const socket: UdpSocket = createSocket("udp4");
    closers.push(() => socket.close());
    await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
    return (socket as unknown as { [key: symbol]: { handle: { fd: number } } })[
      Object.getOwnPropertySymbols(socket).find((symbol) => symbol.description === "state symbol")!
    ]!.handle.fd;
  };

  it.each([
    ["a connection", "web", connected, /is a TCP socket that does not listen .*; .*: ListenStream=443/],
    ["a UDP socket", "web", datagrams, /is no TCP socket; .*: ListenStream=443/],
    ["a file", "web", async () => own(openSync("/dev/null", "r")), /is no TCP socket; /],
    [
      "a SEQPACKET socket",
      "web",
      async () => own(native.listenUnix(folder.at("door.sock"), "seqpacket", { backlog: 1 })),
      /is a listening unix seqpacket socket; /,
    ],
    [
      "a TCP socket as control endpoint",
      "control",
      async () => listening("127.0.0.1").descriptor,
      /is no unix socket; .*ListenStream=\/path .* FileDescriptorName=control/,
    ],
  ])("%s", async (_, name, make, expected) => {
    const descriptor = await make();
    const error = thrown(() => new PassedSockets([{ descriptor, name }]));
    expect(error).toBeInstanceOf(HandoffError);
    expect(error.code).toBe("ERR_LISTEN");
    expect(error.message).toContain(`the passed descriptor ${descriptor} (${name}) is `);
    expect(error.message).toMatch(expected);
  });
});
