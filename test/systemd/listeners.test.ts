import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { openSync } from "node:fs";
import { createServer, type Server, Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { parseListenAddress } from "../../src/daemon/configuration/addresses.js";
import { compileListeners } from "../../src/daemon/configuration/compile.js";
import type { ListenerSettings } from "../../src/daemon/configuration/index.js";
import { matchPassedSockets } from "../../src/daemon/systemd/listeners.js";
import { HandoffError } from "../../src/errors.js";
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
  return compileListeners(
    addresses.map((address) => ({
      address: parseListenAddress(address)!,
      backlog: 4096,
      v6Only: false,
      freebind: false,
      deferAccept: 1000,
      keepAlive: false,
    })),
  );
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

describe("a passed socket", () => {
  it.each([
    ["127.0.0.1", "127.0.0.1:", {}],
    ["0.0.0.0", "0.0.0.0:", {}],
    ["::1", "[::1]:", {}],
    ["::1", "[0:0:0:0:0:0:0:1]:", {}],
    ["::", "[::]:", { v6Only: false }],
    ["::", "*:", { v6Only: false }],
    ["127.0.0.1", "[::ffff:127.0.0.1]:", {}],
  ])("that is bound to %s is the listener configured as %s", (bound, address, options) => {
    const { descriptor, port } = listening(bound, options);
    expect(matchPassedSockets(configured(`${address}${port}`), [{ descriptor, name: "web" }])).toEqual({
      listeners: [descriptor],
      control: undefined,
      warnings: [],
    });
  });

  it("keeps the place of its listener; the others are to be bound", () => {
    const a = listening("127.0.0.1");
    const b = listening("127.0.0.1");
    const settings = configured(`127.0.0.1:${b.port}`, "127.0.0.1:0", `127.0.0.1:${a.port}`);
    const passed = [
      { descriptor: a.descriptor, name: "web" },
      { descriptor: b.descriptor, name: "web" },
    ];
    expect(matchPassedSockets(settings, passed).listeners).toEqual([b.descriptor, -1, a.descriptor]);
  });

  it("that nobody is configured for is named, with what would help", () => {
    const { descriptor, port } = listening("127.0.0.1");
    const { listeners, warnings } = matchPassedSockets(configured("0.0.0.0:443", "[::1]:443"), [
      { descriptor, name: "web" },
    ]);
    expect(listeners).toEqual([-1, -1]);
    expect(warnings).toEqual([
      `nobody accepts on 127.0.0.1:${port}, which the service manager passed as "web": its clients will wait in vain; add it to "listeners" (there: 0.0.0.0:443, [::1]:443; each takes one socket) or take it out of the .socket unit and restart that`,
    ]);
  });

  it("is another's when a second one is bound to the same address", () => {
    const { descriptor, port } = listening("127.0.0.1");
    const again = own(native.duplicate(descriptor));
    const passed = [
      { descriptor, name: "web" },
      { descriptor: again, name: "twice" },
    ];
    const { listeners, warnings } = matchPassedSockets(configured(`127.0.0.1:${port}`), passed);
    expect(listeners).toEqual([descriptor]);
    expect(warnings).toEqual([expect.stringContaining('passed as "twice"')]);
  });

  it("that leaves out a family which is configured is warned of", () => {
    const six = listening("::", { v6Only: true });
    const four = listening("0.0.0.0");
    const warnings = (address: string, descriptor: number) =>
      matchPassedSockets(configured(address), [{ descriptor, name: "web" }]).warnings;
    expect(warnings(`[::]:${six.port}`, six.descriptor)).toEqual([expect.stringContaining("takes no IPv4 clients")]);
    expect(warnings(`*:${six.port}`, six.descriptor)).toEqual([expect.stringContaining("takes no IPv4 clients")]);
    expect(warnings(`*:${four.port}`, four.descriptor)).toEqual([expect.stringContaining("takes no IPv6 clients")]);
    expect(warnings(`0.0.0.0:${four.port}`, four.descriptor)).toEqual([]);
  });

  it("does not block its acceptor afterwards", () => {
    const { descriptor, port } = listening("127.0.0.1");
    native.setNonBlocking(descriptor, false);
    matchPassedSockets(configured(`127.0.0.1:${port}`), [{ descriptor, name: "web" }]);
    const loop = native.createLoop({ events: 1, peeks: 1, peekBytes: 64, sends: 1, sendBytes: 64, closes: 1 });
    closers.push(() => loop.destroy());
    expect(loop.accept(descriptor, 1)).toBe(0);
  });
});

describe("a passed unix socket", () => {
  it("with the name control is the control endpoint's", async () => {
    const path = folder.at("control.sock");
    const descriptor = await unixStream(path);
    expect(matchPassedSockets([], [{ descriptor, name: "control" }])).toEqual({
      listeners: [],
      control: { descriptor, path },
      warnings: [],
    });
  });

  it("with another name, or a second one, is named", async () => {
    const first = await unixStream(folder.at("first.sock"));
    const second = await unixStream(folder.at("second.sock"));
    const other = await unixStream(folder.at("other.sock"));
    const { control, warnings } = matchPassedSockets(
      [],
      [
        { descriptor: other, name: "web" },
        { descriptor: first, name: "control" },
        { descriptor: second, name: "control" },
      ],
    );
    expect(control?.path).toBe(folder.at("first.sock"));
    expect(warnings).toEqual([
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
    const error = thrown(() => matchPassedSockets(configured("0.0.0.0:443"), [{ descriptor, name }]));
    expect(error).toBeInstanceOf(HandoffError);
    expect(error.code).toBe("ERR_LISTEN");
    expect(error.message).toContain(`the passed descriptor ${descriptor} (${name}) is `);
    expect(error.message).toMatch(expected);
  });
});
