/** The relay's status, put together of what it knows and what its workers say. */
import { readdirSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { readRelayGauges } from "../../relay/gauges.js";
import type { RelayTargetStatus } from "../../relay/settings.js";
import type { RelayFile } from "../configuration/load-relay.js";
import { descriptorLimit } from "../descriptor-limit.js";
import type { Heartbeats } from "../heartbeats.js";
import type { TargetNames } from "./names.js";
import type { RelayStatus, TargetStatus } from "./status.js";
import type { RelayTotals } from "./totals.js";
import type { RelayWorkers } from "./workers.js";

export interface ReportedRelay {
  readonly configuration: RelayFile;
  readonly generation: number;
  readonly loadedAt: string;
  readonly lastReload: RelayStatus["configuration"]["lastReload"];
  readonly state: RelayStatus["state"];
  readonly folder: string;
  readonly whileNeeded: boolean;
  readonly workers: RelayWorkers;
  readonly totals: RelayTotals;
  readonly heartbeats: Heartbeats;
  readonly names: TargetNames;
}

const { version } = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8"));
const startedAt = new Date(Date.now() - process.uptime() * 1000).toISOString();
const limit = descriptorLimit();

/** `now` is asked again when the workers have answered: the configuration may be another one by then. */
export async function relayStatus(now: () => ReportedRelay): Promise<RelayStatus> {
  const { heartbeats, workers } = now();
  const targets = await heartbeats.unlessStuck(workers.snapshot(), () => []);
  const reported = now();
  const { configuration, generation, loadedAt, lastReload, state, folder, whileNeeded } = reported;
  const { user, system } = process.cpuUsage();
  return {
    kind: "relay",
    version,
    pid: process.pid,
    startedAt,
    uptime: process.uptime(),
    state,
    node: process.version,
    kernel: release(),
    configuration: { file: configuration.file, generation, loadedAt, lastReload },
    folder,
    whileNeeded,
    workers: workers.memories.map(({ gauges }, index) => {
      const { connections, established, dialing, pipes, busy_milliseconds } = readRelayGauges(gauges);
      const responsive = heartbeats.answered(index);
      return { index, responsive, connections, established, dialing, pipes, busy: busy_milliseconds / 1000 };
    }),
    backends: configuration.relay.backends.map((backend) => ({
      name: backend.name,
      targets: backend.targets.map((target) => ({
        name: target.text,
        ...health(
          targets.filter((each) => each.backend === backend.name && each.target === target.text),
          target.kind === "name" ? reported.names.known(target.host)?.failure : undefined,
        ),
        totals: reported.totals.target(backend.name, target.text),
      })),
    })),
    counters: reported.totals.counters,
    process: {
      user: process.geteuid!(),
      rss: process.memoryUsage.rss(),
      descriptors: readdirSync("/proc/self/fd").length,
      descriptorLimit: limit,
      cpuSeconds: (user + system) / 1e6,
    },
  };
}

/** Each worker has its own experience of a target. */
function health(
  seen: readonly RelayTargetStatus[],
  unresolved = "",
): Pick<TargetStatus, "addresses" | "state" | "lastFailure"> {
  const addresses = seen[0]?.addresses ?? [];
  const resting = seen.find((each) => each.resting > 0);
  const lastFailure = (resting ?? seen.find((each) => each.lastFailure !== ""))?.lastFailure ?? "";
  if (addresses.length === 0 && unresolved !== "") return { addresses, state: "unresolved", lastFailure: unresolved };
  return { addresses, state: resting === undefined ? "well" : "resting", lastFailure: lastFailure || unresolved };
}
