/** The daemon: from a configuration file to a running door, until a signal ends it. */
import type { LogLevel } from "../door/settings.js";
import { formatProblem } from "../errors.js";
import { loadConfiguration } from "./configuration/index.js";
import { InstanceWatch } from "./instance-watch.js";
import { Listeners } from "./listeners.js";
import { createLog, type Log } from "./log.js";
import { EndingSignals } from "./signals.js";
import { Workers } from "./workers.js";

/** How long connections that wait may take to finish after SIGTERM. Milliseconds. */
const DRAIN_TIMEOUT = 10_000;

export interface ServeOptions {
  /** Overrides the configuration's. */
  readonly logLevel?: LogLevel | undefined;
}

/**
 * Serves until SIGTERM or SIGINT; resolves to the exit status. Throws a ConfigurationError, or a HandoffError
 * (ERR_LISTEN), before it has accepted anything.
 */
export async function serve(file: string, options: ServeOptions = {}): Promise<number> {
  // Without a handler SIGUSR1 opens Node's inspector to every local user.
  process.on("SIGUSR1", () => {});
  const signals = new EndingSignals();
  const configuration = await loadConfiguration(file);
  const log = await createLog({ level: options.logLevel ?? configuration.log.level });
  for (const warning of configuration.warnings) {
    const { file, line, column, key } = warning;
    log.warn({ event: "configuration.warning", file, line, column, key }, formatProblem(warning));
  }
  const listeners = new Listeners(configuration.listeners);
  const watch = new InstanceWatch(configuration.door.backends, {
    instances: (backend, paths) => workers?.command({ type: "instances", backend, paths }),
    appeared: (path) => workers?.command({ type: "appeared", path }),
    insecure: (folder, mode) => {
      log.error(
        { event: "instances.insecure", path: folder, mode: mode.toString(8) },
        `${folder} is not used: its mode ${mode.toString(8)} lets others than root and its owner put instances there; chmod go-w ${folder}`,
      );
    },
    unreadable: (backend, folder, error) => {
      log.warn(
        {
          event: "instance.unreachable",
          backend: configuration.door.backends[backend]!.name,
          path: folder,
          code: error.code,
        },
        explainUnreadable(folder, error),
      );
    },
  });
  let workerDied: (status: number) => void;
  const died = new Promise<number>((resolve) => {
    workerDied = resolve;
  });
  let workers: Workers | undefined;
  workers = await Workers.start(
    {
      count: configuration.workers,
      settings: configuration.door,
      routes: configuration.routes,
      listeners: listeners.descriptors,
      instances: watch.instances,
    },
    {
      log: ({ level, event, message, fields }) => log[level]({ event, ...fields }, message),
      died: (error) => {
        log.fatal({ event: "worker.died", stack: error.stack }, `a worker died: ${error.message}`);
        workerDied(1);
      },
    },
  );
  process.on("SIGHUP", () => {
    log.warn({ event: "reload.unsupported" }, "SIGHUP: this version cannot reload its configuration; restart it");
  });
  log.info(
    {
      event: "ready",
      listeners: listeners.names,
      workers: configuration.workers,
      backends: configuration.door.backends.length,
      names: configuration.names,
    },
    `ready on ${listeners.names.join(", ")}`,
  );
  const ended = await Promise.race([died, endedBySignal(signals, log, workers, listeners)]);
  watch.close();
  return ended;
}

/** The first signal drains, the second ends at once. */
async function endedBySignal(
  signals: EndingSignals,
  log: Log,
  workers: Workers,
  listeners: Listeners,
): Promise<number> {
  const signal = await signals.next();
  log.info({ event: "stopping", signal }, `${signal}: accepting no more, finishing what waits`);
  const drained = workers.drain(DRAIN_TIMEOUT, () => listeners.close());
  const again = signals.next();
  const abandoned = await Promise.race([drained, again.then(() => undefined)]);
  const how = abandoned === undefined ? "stopped at once by a second signal" : "stopped";
  log.info({ event: "stopped", abandoned, counters: workers.totals }, how);
  await workers.terminate();
  return 0;
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
