/** Listening sockets over changes of the configuration: which stay open, and which do not. */
import { afterEach, describe, expect, it } from "vitest";
import type { ListenerSettings } from "../../src/daemon/configuration/index.js";
import { Listeners, type PassedListener } from "../../src/daemon/listeners.js";
import { native } from "../../src/native/addon.js";

const opened: Listeners[] = [];
afterEach(() => {
  for (const listeners of opened.splice(0)) listeners.close();
});

function passed(source: PassedListener["source"], name?: string) {
  const descriptor = native.listenTcp({ address: "127.0.0.1", port: 0, backlog: 16, deferAccept: 1 });
  const { port } = native.localAddress(descriptor);
  const options = { address: "127.0.0.1", port, backlog: 16, deferAccept: 1 };
  const settings = { name: name ?? `127.0.0.1:${port}`, options } as ListenerSettings;
  return { socket: { descriptor, source, name } satisfies PassedListener, settings };
}

function listenersOf(...sockets: PassedListener[]): Listeners {
  const listeners = new Listeners(sockets);
  opened.push(listeners);
  return listeners;
}

it("the service manager's can be removed from the configuration, and come back", () => {
  const [a, b] = [passed("systemd"), passed("systemd")];
  const listeners = listenersOf(a.socket, b.socket);
  listeners.prepare([a.settings]).commit();
  expect(listeners.unused.map(({ descriptor }) => descriptor)).toEqual([b.socket.descriptor]);
  listeners.prepare([b.settings]).commit();
  expect(listeners.descriptors).toEqual([b.socket.descriptor]);
  expect(listeners.unserved).toEqual([expect.stringContaining(`nobody accepts on ${a.settings.name}, `)]);
  listeners.prepare([a.settings, b.settings]).commit();
  expect(listeners.descriptors).toEqual([a.socket.descriptor, b.socket.descriptor]);
  expect(listeners.all.map(({ source }) => source)).toEqual(["systemd", "systemd"]);
  expect(listeners.unserved).toEqual([]);
});

it("one of the process before that the configuration no longer has is closed: nobody would accept there", () => {
  const [a, b] = [passed("inherited", "a"), passed("inherited", "b")];
  const listeners = listenersOf(a.socket, b.socket);
  listeners.prepare([a.settings]).commit();
  expect(listeners.unused).toEqual([]);
  expect(() => native.localAddress(b.socket.descriptor)).toThrow(/EBADF/);
});

describe("an address that is written otherwise", () => {
  /** A listener at `port`, as the configuration has it. */
  const wanted = (address: string, port: number, v6Only?: boolean): ListenerSettings =>
    ({
      name: `${address.includes(":") ? `[${address}]` : address}:${port}`,
      options: { address: address === "*" ? "::" : address, port, backlog: 16, deferAccept: 1, v6Only },
    }) as ListenerSettings;
  const bound = (address: string, v6Only?: boolean) => {
    const listeners = listenersOf();
    listeners.prepare([wanted(address, 0, v6Only)]).commit();
    const [descriptor] = listeners.descriptors as [number];
    return { listeners, descriptor, port: native.localAddress(descriptor).port };
  };

  it("is the same listener, in a reload and in an upgrade", () => {
    const { listeners, descriptor, port } = bound("::", false);
    listeners.prepare([wanted("*", port, false)]).commit();
    expect(listeners.descriptors).toEqual([descriptor]);
    const other = listenersOf({ descriptor: native.duplicate(descriptor), source: "inherited", name: `*:${port}` });
    other.prepare([wanted("::", port, false)]).commit();
    expect(other.all).toMatchObject([{ name: `[::]:${port}`, source: "inherited" }]);
  });

  it.each([
    ["0.0.0.0", undefined, "0.0.0.0"],
    ["::", true, "[::]"],
  ] as const)("is another one if more clients can come by it than by %s (v6Only: %s)", (address, v6Only, shown) => {
    const { listeners, descriptor, port } = bound(address, v6Only);
    const message = `the door itself listens on ${shown}:${port}, which is a part of that or has it as a part: restart it for this change`;
    expect(() => listeners.prepare([wanted("*", port, false)])).toThrow(message);
    expect(listeners.descriptors).toEqual([descriptor]);
  });
});
