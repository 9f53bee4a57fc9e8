/** The watch over a configuration's instances, and what it says in the log. */
import type { Configuration } from "./configuration/index.js";
import { InstanceWatch, MOST_INSTANCES } from "./instance-watch.js";
import type { Log } from "./log.js";
import type { Workers } from "./workers.js";

/** `workers` gives the workers once there are some: they are started with what the first look finds. */
export function watchInstances({ door }: Configuration, log: Log, workers: () => Workers | undefined): InstanceWatch {
  return new InstanceWatch(door.backends, {
    instances: (backend, paths) => workers()?.command({ type: "instances", backend, paths }),
    appeared: (path) => workers()?.command({ type: "appeared", path }),
    insecure: (folder, mode) => {
      log.error(
        { event: "instances.insecure", path: folder, mode: mode.toString(8) },
        `${folder} is not used: its mode ${mode.toString(8)} lets others than root and its owner put instances there; chmod go-w ${folder}`,
      );
    },
    tooMany: (path) => {
      log.error(
        { event: "instances.too_many", path },
        `${path} has more sockets than a backend may have instances, or other files in great number: at most ${MOST_INSTANCES} are used; remove what nobody listens on`,
      );
    },
    unreadable: (backend, folder, error) => {
      const { name, ...settings } = door.backends[backend]!;
      if ("relay" in settings && settings.relay !== undefined && error.code === "ENOENT") {
        log.info({ event: "relay.awaited", backend: name, path: folder }, `the relay has not opened ${folder} yet`);
        return;
      }
      log.warn(
        { event: "instance.unreachable", backend: name, path: folder, code: error.code },
        explainUnreadable(folder, error),
      );
    },
  });
}

function explainUnreadable(folder: string, error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case "ENOENT":
      return `no instance yet: ${folder} does not exist; looked for again every second`;
    case "ENOTDIR":
      return `${folder} is not a folder; looked at again every second`;
    case "EACCES":
    case "EPERM":
      return `not permitted to read ${folder}: the door's user needs read and search permission on it`;
    default:
      return `cannot read ${folder}: ${error.message}`;
  }
}
