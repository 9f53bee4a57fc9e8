/** The daemon: from a configuration file to a running door, until a signal ends it. */
import type { LogLevel } from "../door/settings.js";
import { formatProblem } from "../errors.js";
import { loadConfiguration } from "./configuration/index.js";
import { Daemon } from "./daemon.js";
import { Listeners } from "./listeners.js";
import { createLog, type Log } from "./log.js";
import { PidFile } from "./pidfile.js";
import { EndingSignals } from "./signals.js";
import { type Stage, takeStage } from "./stage.js";
import { Follower, sayFailed } from "./upgrade/follower.js";

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
  const stage = takeStage();
  try {
    return await serveStage(file, options, signals, stage);
  } catch (error) {
    if (stage?.kind === "upgrade") await sayFailed(error as Error);
    throw error;
  }
}

async function serveStage(
  file: string,
  options: ServeOptions,
  signals: EndingSignals,
  stage: Stage | undefined,
): Promise<number> {
  const configuration = await loadConfiguration(file);
  const log = await createLog({ level: options.logLevel ?? configuration.log.level });
  for (const warning of configuration.warnings) {
    const { file, line, column, key } = warning;
    log.warn({ event: "configuration.warning", file, line, column, key }, formatProblem(warning));
  }
  const listeners = new Listeners(
    (stage?.listeners ?? []).map(({ name, descriptor, source }) => ({
      name,
      descriptor,
      source: source === "systemd" ? source : "inherited",
    })),
  );
  listeners.prepare(configuration.listeners).commit();
  const daemon = await Daemon.start({ configuration, listeners, log, accepting: stage?.kind !== "upgrade" });
  if (stage?.kind === "upgrade") await takeOver(daemon, stage);
  const pidfile = configuration.pidfile === undefined ? undefined : new PidFile(configuration.pidfile);
  log.info(
    {
      event: "ready",
      pid: process.pid,
      listeners: listeners.addresses,
      workers: configuration.workers,
      backends: configuration.door.backends.length,
      names: configuration.names,
    },
    `ready on ${listeners.addresses.join(", ")}`,
  );
  process.on("SIGHUP", () => daemon.reload());
  process.on("SIGUSR2", () => daemon.upgrade());
  endBySignal(signals, daemon, log);
  const status = await daemon.ended;
  pidfile?.remove();
  return status;
}

async function takeOver(daemon: Daemon, stage: Stage): Promise<void> {
  const follower = new Follower(stage.channels, (connection) => daemon.adopt(connection));
  await follower.prepared();
  daemon.accept();
  await follower.accepting(stage.standardError);
}

/** The first signal drains, the second ends at once. */
async function endBySignal(signals: EndingSignals, daemon: Daemon, log: Log): Promise<void> {
  const signal = await signals.next();
  void daemon
    .stop(signal)
    .catch((error: Error) => log.fatal({ event: "stop.failed", stack: error.stack }, error.message));
  await signals.next();
  await daemon.stopNow();
}
