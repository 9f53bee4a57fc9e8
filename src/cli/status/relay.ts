/** A relay's status as lines of text. Pure. */
import { counted } from "../../daemon/counted.js";
import type { RelayStatus, TargetStatus } from "../../daemon/relay/status.js";
import { HandoffError } from "../../errors.js";
import { bytes, type Column, clock, count, duration, labelled, shorten, table } from "./text.js";

/** Throws ERR_CONTROL if something is not there that is shown: relays of other versions tell other things. */
export function renderRelayStatus(status: RelayStatus, width: number): string[] {
  try {
    return linesOf(status, width);
  } catch (cause) {
    const message = `the relay of version ${status.version} tells its status otherwise: ask it with its own sni-handoff`;
    throw new HandoffError("ERR_CONTROL", message, { cause });
  }
}

function linesOf(status: RelayStatus, width: number): string[] {
  return [
    ...summary(status, width),
    "",
    ...workers(status, width),
    "",
    ...targets(status, width),
    "",
    ...totals(status),
  ];
}

function summary(status: RelayStatus, width: number): string[] {
  const { configuration, process } = status;
  const { lastReload } = configuration;
  const line = (label: string, parts: readonly string[]) => labelled(label, parts.filter(Boolean), width);
  return [
    ...line("relay", [
      `${status.version} ${status.state}`,
      `up ${duration(status.uptime)}`,
      `pid ${status.pid}`,
      `user ${process.user}`,
      status.whileNeeded ? "ends when it is not needed" : "",
    ]),
    ...line("configuration", [
      configuration.file,
      `generation ${configuration.generation} of ${clock(configuration.loadedAt)}`,
      counted(status.backends.length, "backend"),
    ]),
    ...(lastReload === undefined
      ? []
      : line("last reload", [
          `${lastReload.ok ? "done" : "FAILED"} at ${clock(lastReload.at)}: ${lastReload.message}`,
        ])),
    ...line("folder", [status.folder]),
    ...line("process", [
      bytes(process.rss),
      `${process.descriptors} of ${process.descriptorLimit} descriptors`,
      `${process.cpuSeconds.toFixed(1)} s of CPU`,
    ]),
  ];
}

const workerColumns: readonly Column[] = [
  { title: "WORKER", align: "left" },
  { title: "STATE", align: "left" },
  { title: "CONNECTIONS", align: "right" },
  { title: "DIALING", align: "right" },
  { title: "PIPES", align: "right" },
];

function workers(status: RelayStatus, width: number): string[] {
  const rows = status.workers.map((worker) => [
    String(worker.index),
    worker.responsive ? "responsive" : "STUCK",
    count(worker.connections),
    count(worker.dialing),
    count(worker.pipes),
  ]);
  return table(workerColumns, rows, width);
}

const targetColumns: readonly Column[] = [
  { title: "TARGET", align: "left" },
  { title: "STATE", align: "left" },
  { title: "ACTIVE", align: "right" },
  { title: "TAKEN", align: "right" },
  { title: "FAILED", align: "right" },
  { title: "IN", align: "right" },
  { title: "OUT", align: "right" },
];

/** Backends with their targets below; what is behind a target's name, and what it suffers from, below that. */
function targets(status: RelayStatus, width: number): string[] {
  const rows: string[][] = [];
  const notes = new Map<number, string>();
  for (const backend of status.backends) {
    rows.push([backend.name]);
    for (const target of backend.targets) {
      const { totals } = target;
      rows.push([
        `  ${target.name}`,
        target.state === "well" ? "well" : target.state.toUpperCase(),
        count(totals.active),
        count(totals.connections),
        count(totals.connect_failures + totals.connect_timeouts),
        bytes(totals.bytes_to_target),
        bytes(totals.bytes_to_client),
      ]);
      const note = noteOf(target);
      if (note !== "") notes.set(rows.length, note);
    }
  }
  return table(targetColumns, rows, width).flatMap((line, index) => {
    const note = notes.get(index);
    return note === undefined ? [line] : [line, shorten(`    ${note}`, width)];
  });
}

function noteOf({ name, addresses, state, lastFailure }: TargetStatus): string {
  const isSame = addresses.length === 1 && addresses[0] === name;
  return [isSame ? "" : addresses.join(", "), state === "well" ? "" : lastFailure].filter(Boolean).join("; ");
}

/** Counters that are not zero. */
function totals({ counters }: RelayStatus): string[] {
  const seen = Object.entries(counters).filter(([name, value]) => value !== 0 || name === "received");
  return ["TOTALS", ...seen.map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`)];
}
