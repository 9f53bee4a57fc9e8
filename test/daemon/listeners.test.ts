/** Listening sockets over changes of the configuration: which stay open, and which do not. */
import { afterEach, expect, it } from "vitest";
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
  listeners.prepare([a.settings, b.settings]).commit();
  expect(listeners.descriptors).toEqual([a.socket.descriptor, b.socket.descriptor]);
  expect(listeners.all.map(({ source }) => source)).toEqual(["systemd", "systemd"]);
});

it("one of the process before that the configuration no longer has is closed: nobody would accept there", () => {
  const [a, b] = [passed("inherited", "a"), passed("inherited", "b")];
  const listeners = listenersOf(a.socket, b.socket);
  listeners.prepare([a.settings]).commit();
  expect(listeners.unused).toEqual([]);
  expect(() => native.localAddress(b.socket.descriptor)).toThrow(/EBADF/);
});
