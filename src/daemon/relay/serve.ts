/** The relay's process: from a configuration file to running workers, until a signal ends it. */
import { HandoffError } from "../../errors.js";
import type { RelayLogLevel } from "../../relay/settings.js";
import { loadRelay, type RelayFile } from "../configuration/load-relay.js";
import { createLog, type DaemonLog } from "../log.js";
import { EndingSignals, Orders } from "../signals.js";
import { Notifier } from "../systemd/notify.js";
import { takeWatchdogPeriod } from "../systemd/watchdog.js";
import { Relay, type RelayParts } from "./relay.js";

export interface ServeRelayOptions {
  /** Overrides the configuration's. */
  readonly logLevel?: RelayLogLevel | undefined;
  readonly whileNeeded: boolean;
}

/**
 * Relays until SIGTERM or SIGINT; resolves to the exit status. Throws a ConfigurationError, or another HandoffError,
 * before doors can find it.
 */
export async function serveRelay(file: string, { logLevel, whileNeeded }: ServeRelayOptions): Promise<number> {
  // Without a handler SIGUSR1 opens Node's inspector to every local user.
  process.on("SIGUSR1", () => {});
  const orders = new Orders();
  const configuration = await loadRelay(file);
  const log = await createLog({ level: logLevel ?? configuration.log.level });
  if (configuration.identity !== undefined) await becomeUser(configuration, log);
  const signals = new EndingSignals();
  const notifier = Notifier.fromEnvironment(process.env, (error) =>
    log.warn({ event: "notify.failed" }, error.message),
  );
  const watchdogPeriod = takeWatchdogPeriod();
  const relay = await startUnlessThere({ configuration, log, notifier, watchdogPeriod, whileNeeded, logLevel });
  if (relay === undefined) return 0;
  orders.goTo(relay);
  void endBySignal(signals, relay);
  const backends = configuration.relay.backends.map(({ name }) => name);
  const { folder, workers } = configuration.relay;
  log.info({ event: "relay.ready", pid: process.pid, folder, workers, backends }, `relay ready in ${folder}`);
  return relay.ended;
}

/** Undefined if there is one already, and one is enough. */
async function startUnlessThere(parts: RelayParts): Promise<Relay | undefined> {
  try {
    return await Relay.start(parts);
  } catch (error) {
    if (!parts.whileNeeded || !(error instanceof HandoffError) || error.code !== "ERR_PATH_IN_USE") throw error;
    parts.log.info({ event: "relay.there" }, `not needed: ${error.message}`);
    return undefined;
  }
}

/**
 * Executes this program again as the configured user, without capabilities, if this process may and is not that user
 * already: then it does not return. (Landlock is for the door: a relay connects to wherever its targets are.) Throws
 * ERR_NOT_PERMITTED.
 */
async function becomeUser({ file, files, relay, identity }: RelayFile, log: DaemonLog): Promise<void> {
  const { identityOf, processStatus, reexecute, unreadableFor } = await import("../privileges/index.js");
  const next = identityOf({ file, identity }, processStatus());
  if (next === undefined) return;
  for (const { file, code } of unreadableFor(next, files)) {
    const what = { event: "privileges.unreadable", file, code };
    log.warn(what, `reloads will fail: user ${next.uid} cannot read ${file} (${code})`);
  }
  const { makeRelayFolder } = await import("./folders.js");
  makeRelayFolder(relay.folder, next);
  reexecute({ identity: next, capabilities: [], landlock: undefined, outcome: "off" }, { environment: {}, keep: [] });
}

/** The first signal drains, the second ends at once. */
async function endBySignal(signals: EndingSignals, relay: Relay): Promise<void> {
  await relay.stop(await signals.next());
  await signals.next();
  await relay.stopNow();
}
