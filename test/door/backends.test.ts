import { expect, it } from "vitest";
import { Backend, instancePaths } from "../../src/door/backends.js";
import { Channel, ChannelState } from "../../src/door/channel.js";
import { Connections } from "../../src/door/connections.js";
import type { HandoffBackendSettings } from "../../src/door/settings.js";

function backend(maxConnections: number, ...channels: Partial<Channel>[]): Backend {
  const settings = { kind: "handoff", maxConnections } as HandoffBackendSettings;
  const made = new Backend(0, settings, new Connections(1));
  made.channels = channels.map((change, i) =>
    Object.assign(new Channel(i, 0, settings, `/${i}`, `${i}`), {
      state: ChannelState.READY,
      window: 100,
      ...change,
    }),
  );
  return made;
}

it("without a limit takes what its instances take", () => {
  expect(backend(0, { open: 1e6 }).capacity).toBe(Number.POSITIVE_INFINITY);
  expect(backend(0, { open: 1e6 }, {}).room(0)).toBe(200);
});

it("counts open, outstanding and queued connections of all its instances", () => {
  expect(backend(10, { open: 3, outstanding: 2 }, { open: 1, queued: 1 }).capacity).toBe(3);
  expect(backend(10, { open: 3, outstanding: 2 }, { open: 1, queued: 1 }).room(0)).toBe(3);
  expect(backend(10, { open: 8 }, { open: 9 }).capacity).toBe(0);
  expect(backend(10, { open: 8 }, { open: 9 }).room(0)).toBe(0);
});

it("counts what an instance has that takes no more, and nothing of one that is gone", () => {
  const some = backend(10, { open: 4, state: ChannelState.DRAINING }, { open: 4, stalled: true }, { open: 1 });
  expect(some.capacity).toBe(1);
  some.channels[0]!.closed();
  expect(some.capacity).toBe(5);
});

it("one of its instances that offers a smaller window than it has outstanding takes no room from the others", () => {
  const some = backend(0, {}, { window: 5 });
  for (let slot = 0; slot < 50; slot++) some.channels[0]!.sent(slot);
  some.channels[0]!.window = 1;
  expect(some.channels[0]!.takes(0)).toBe(false);
  expect(some.room(0)).toBe(5);
});

it("has its own path, or those in its folder", () => {
  const settings = { path: "/run/app.sock" } as HandoffBackendSettings;
  expect(instancePaths(settings, ["/run/other.sock"])).toEqual(["/run/app.sock"]);
  expect(instancePaths({ ...settings, path: "/run/app/" }, ["/run/app/1.sock"])).toEqual(["/run/app/1.sock"]);
});
