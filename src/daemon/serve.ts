/** The daemon: from a configuration file to a running door, until a signal ends it. */
import type { LogLevel } from "../door/settings.js";
import { formatProblem } from "../errors.js";
import { type Configuration, configuredBackends, loadConfiguration } from "./configuration/index.js";
import { Daemon, type DaemonParts } from "./daemon.js";
import { Endpoints, type PassedEndpoints } from "./endpoints.js";
import { Listeners, type PassedListener } from "./listeners.js";
import { createLog, type DaemonLog } from "./log.js";
import { PidFile } from "./pidfile.js";
import { makeFolderForRelay } from "./relay/keeper.js";
import { EndingSignals, Orders } from "./signals.js";
import { type Stage, stageEnvironment, takeStage } from "./stage.js";
import { PassedSockets } from "./systemd/listeners.js";
import { Notifier } from "./systemd/notify.js";
import { takeWatchdogPeriod } from "./systemd/watchdog.js";
import { Follower, sayFailed } from "./upgrade/follower.js";

export interface ServeOptions {
  /** Overrides the configuration's. */
  readonly logLevel?: LogLevel | undefined;
}

/**
 * Serves until SIGTERM or SIGINT; resolves to the exit status. Throws a ConfigurationError, or a HandoffError
 * (ERR_LISTEN, ERR_NOT_PERMITTED, ERR_PATH_IN_USE, …), before it has accepted anything.
 */
export async function serve(file: string, options: ServeOptions = {}): Promise<number> {
  // Without a handler SIGUSR1 opens Node's inspector to every local user.
  process.on("SIGUSR1", () => {});
  const orders = new Orders();
  const stage = takeStage();
  try {
    return await serveStage(file, options, stage, orders);
  } catch (error) {
    if (stage?.kind === "upgrade") await sayFailed(error as Error);
    throw error;
  }
}

async function serveStage(
  file: string,
  options: ServeOptions,
  stage: Stage | undefined,
  orders: Orders,
): Promise<number> {
  const configuration = await loadConfiguration(file);
  const log = await createLog({ level: options.logLevel ?? configuration.log.level });
  const passed = stage === undefined ? new PassedSockets() : undefined;
  const listeners = new Listeners(passed?.listeners ?? passedBy(stage!), stage?.givenUp?.binding);
  const endpoints = new Endpoints(configuration, stage ?? endpointsOf(passed!));
  try {
    listeners.prepare(configuration.listeners).commit();
    for (const warning of passed?.warnings(configuration.listeners, listeners) ?? []) {
      log.warn({ event: "listener.warning" }, warning);
    }
    if (stage === undefined) await giveUpPrivileges(configuration, listeners, endpoints, log);
    const pidfile = configuration.pidfile === undefined ? undefined : new PidFile(configuration.pidfile);
    try {
      const parts = { configuration, log, listeners, endpoints, logLevel: options.logLevel };
      return await run(parts, pidfile, stage, orders);
    } finally {
      pidfile?.remove();
    }
  } catch (error) {
    // In an upgrade the process before goes on with it.
    if (stage?.kind !== "upgrade") endpoints.release();
    throw error;
  }
}

async function run(
  parts: Pick<DaemonParts, "configuration" | "log" | "listeners" | "endpoints" | "logLevel">,
  pidfile: PidFile | undefined,
  stage: Stage | undefined,
  orders: Orders,
): Promise<number> {
  const { configuration, log, listeners } = parts;
  // From here on this is the process that serves: signals to handlers of one that executes another would be lost.
  const signals = new EndingSignals();
  const notifier = Notifier.fromEnvironment(process.env, (error) =>
    log.warn({ event: "notify.failed" }, error.message),
  );
  const watchdogPeriod = takeWatchdogPeriod();
  for (const warning of configuration.warnings) {
    const { file, line, column, key } = warning;
    log.warn({ event: "configuration.warning", file, line, column, key }, formatProblem(warning));
  }
  if (stage?.kind !== "upgrade") pidfile?.publish();
  const daemon = await Daemon.start({
    ...parts,
    notifier,
    watchdogPeriod,
    givenUp: stage?.givenUp,
    accepting: stage?.kind !== "upgrade",
    drained: stage?.drained ?? [],
    staysInCharge: (failed) => changePidFile(log, () => pidfile?.keep(failed)),
  });
  if (stage?.kind === "upgrade") {
    await takeOver(daemon, stage, signals);
    changePidFile(log, () => pidfile?.publish());
  }
  orders.goTo(daemon);
  void endBySignal(signals, daemon);
  daemon.announce();
  sayReady(configuration, listeners, log);
  return daemon.ended;
}

/** Executing oneself again leaves it at what they were; of another process's they are inherited. */
function passedBy({ kind, listeners }: Stage): PassedListener[] {
  return listeners.map((listener) =>
    kind === "upgrade" && listener.source === "configuration" ? { ...listener, source: "inherited" } : listener,
  );
}

function endpointsOf({ control }: PassedSockets): PassedEndpoints {
  return { control: control?.descriptor ?? -1, metrics: -1, isManaged: control !== undefined };
}

/**
 * Executes this program again with what is left of the privileges, if the configuration asks for that: then it does not
 * return. Throws ERR_NOT_PERMITTED.
 */
async function giveUpPrivileges(
  configuration: Configuration,
  listeners: Listeners,
  endpoints: Endpoints,
  log: DaemonLog,
): Promise<void> {
  if (configuration.identity === undefined && !configuration.privileges.landlock) return;
  const { givenUpBy, planPrivileges, reexecute, unreadableFor } = await import("./privileges/index.js");
  makeFolderForRelay(configuration);
  const plan = planPrivileges(configuration);
  for (const { file, code } of unreadableFor(plan.identity, configuration.files)) {
    log.warn(
      { event: "privileges.unreadable", file, code },
      `reloads will fail: user ${plan.identity?.uid ?? process.getuid!()} cannot read ${file} (${code})`,
    );
  }
  const { control, metrics, isManaged } = endpoints.descriptors;
  const stage: Stage = {
    kind: "execute",
    listeners: [...listeners.all, ...listeners.unused].map(({ name, descriptor, source }) => ({
      name,
      descriptor,
      source,
    })),
    control,
    metrics,
    isManaged,
    drained: [],
    channels: [],
    standardError: -1,
    givenUp: givenUpBy(plan, configuration),
  };
  const keep = [...stage.listeners.map(({ descriptor }) => descriptor), control, metrics].filter((each) => each >= 0);
  reexecute(plan, { environment: stageEnvironment(stage), keep });
}

async function takeOver(daemon: Daemon, stage: Stage, signals: EndingSignals): Promise<void> {
  const follower = new Follower(
    stage.channels,
    (connection) => daemon.adopt(connection),
    (times) => signals.cameBefore(times),
  );
  await follower.prepared();
  daemon.accept();
  await follower.accepting(stage.standardError);
}

/** Clients are served already: this can be wrong only if what was there has changed. */
function changePidFile(log: DaemonLog, change: () => void): void {
  try {
    change();
  } catch (error) {
    log.error({ event: "pidfile.failed" }, (error as Error).message);
  }
}

function sayReady({ workers, door, names }: Configuration, { addresses }: Listeners, log: DaemonLog): void {
  const what = {
    event: "ready",
    pid: process.pid,
    listeners: addresses,
    workers,
    backends: configuredBackends(door).length,
    names,
  };
  log.info(what, `ready on ${addresses.join(", ")}`);
}

/** The first signal drains, the second ends at once. */
async function endBySignal(signals: EndingSignals, daemon: Daemon): Promise<void> {
  await daemon.stop(await signals.next());
  await signals.next();
  await daemon.stopNow();
}
