/** A status as lines of text. Pure: the same status, the same lines. */
import { basename } from "node:path";
import { counted } from "../../daemon/counted.js";
import { describeCapabilities } from "../../daemon/privileges/capabilities.js";
import type { BackendStatus, Status } from "../../daemon/status.js";
import { HandoffError } from "../../errors.js";
import { bytes, type Column, clock, count, duration, labelled, milliseconds, rate, shorten, table } from "./text.js";

/** A status, and when it came: milliseconds of a clock that never jumps. */
export interface Sample {
  readonly status: Status;
  readonly at: number;
}

export interface RenderOptions {
  /** Columns of the terminal. */
  readonly width: number;
  /** An earlier sample of the same daemon: rates instead of totals where both don't fit. */
  readonly previous?: Sample | undefined;
  /** Leaves out what hardly ever changes. false if absent. */
  readonly brief?: boolean;
}

/** Throws ERR_CONTROL if something is not there that is shown: daemons of other versions tell other things. */
export function renderStatus(sample: Sample, options: RenderOptions): string[] {
  try {
    return linesOf(sample, options);
  } catch (cause) {
    const message = `the daemon of version ${sample.status.version} tells its status otherwise: ask it with its own sni-handoff`;
    throw new HandoffError("ERR_CONTROL", message, { cause });
  }
}

function linesOf(sample: Sample, { width, previous, brief = false }: RenderOptions): string[] {
  const { status } = sample;
  const seconds = secondsBetween(previous, sample);
  const before = seconds > 0 ? previous?.status : undefined;
  return [
    ...summary(status, width, brief),
    "",
    ...workers(status, width),
    "",
    ...backends(status, before, seconds, width),
    "",
    ...totals(status, before, seconds, width),
  ];
}

/** 0 if there are no rates between the two: the daemon is another one, or its counters began again. */
function secondsBetween(previous: Sample | undefined, now: Sample): number {
  if (previous === undefined || previous.status.pid !== now.status.pid) return 0;
  const fell = Object.entries(now.status.counters).some(
    ([name, value]) => value < (previous.status.counters as Readonly<Record<string, number>>)[name]!,
  );
  return fell ? 0 : (now.at - previous.at) / 1000;
}

function summary(status: Status, width: number, brief: boolean): string[] {
  const { configuration, listeners, privileges, process, systemd, accessLog } = status;
  const { lastReload } = configuration;
  const line = (label: string, parts: readonly string[]) => labelled(label, parts.filter(Boolean), width);
  const running = line("sni-handoff", [
    `${status.version} ${status.state}`,
    `up ${duration(status.uptime)}`,
    `pid ${status.pid}`,
    `node ${status.node}`,
    `Linux ${status.kernel}`,
  ]);
  const loaded = line("configuration", [
    configuration.file,
    `generation ${configuration.generation} of ${clock(configuration.loadedAt)}`,
    `${counted(configuration.names, "name")} in ${bytes(configuration.tableBytes)}`,
  ]);
  const reloaded =
    lastReload === undefined || (brief && lastReload.ok)
      ? []
      : line("last reload", [`${lastReload.ok ? "done" : "FAILED"} at ${clock(lastReload.at)}: ${lastReload.message}`]);
  const used = line("process", [
    bytes(process.rss),
    `${process.descriptors} of ${process.descriptorLimit} descriptors`,
    `${Number(process.cpuSeconds).toFixed(1)} s of CPU`,
    `event loop late by ${milliseconds(process.eventLoopLag)} ms`,
  ]);
  if (brief) return [...running, ...loaded, ...reloaded, ...used];
  return [
    ...running,
    ...loaded,
    ...reloaded,
    ...line(
      "listeners",
      listeners.map(({ name, address, protocol, source }) => {
        const traits = [protocol === "http" && protocol, source !== "configuration" && source].filter(Boolean);
        const named = name === address ? address : `${name} ${address}`;
        return traits.length === 0 ? named : `${named} (${traits.join(", ")})`;
      }),
    ),
    ...line("control", [
      status.control || "none",
      `metrics ${status.metrics || "none"}`,
      `access log ${accessLog.mode}${accessLog.dropped > 0 ? ` (${count(accessLog.dropped)} lines dropped)` : ""}`,
    ]),
    ...(status.relay.state === "off"
      ? []
      : line("relay", [status.relay.reason || status.relay.state, status.relay.control])),
    ...line("privileges", [
      `${privileges.user} (${privileges.uid}:${privileges.gid})`,
      privileges.noNewPrivileges ? "no new privileges" : "",
      describeCapabilities(privileges.capabilities),
      `landlock ${privileges.landlock}`,
    ]),
    ...used,
    ...(systemd.notify || systemd.watchdog > 0
      ? line("systemd", ["notified", systemd.watchdog > 0 ? `watchdog ${systemd.watchdog} s` : "no watchdog"])
      : []),
  ];
}

const workerColumns: readonly Column[] = [
  { title: "WORKER", align: "left" },
  { title: "STATE", align: "left" },
  { title: "BUSY", align: "right" },
  { title: "CONNECTIONS", align: "right" },
  { title: "WAITING", align: "right" },
  { title: "HELD", align: "right" },
  { title: "UNACKNOWLEDGED", align: "right" },
];

function workers(status: Status, width: number): string[] {
  const rows = status.workers.map((worker) => [
    String(worker.index),
    worker.responsive ? "responsive" : "STUCK",
    `${Math.round(worker.utilisation * 100)}%`,
    count(worker.connections),
    count(worker.waiting),
    count(worker.held),
    count(worker.unacknowledged),
  ]);
  return table(workerColumns, rows, width);
}

function backends(status: Status, before: Status | undefined, seconds: number, width: number): string[] {
  const columns: readonly Column[] = [
    { title: "BACKEND", align: "left" },
    { title: "STATE", align: "left" },
    { title: "PID", align: "right" },
    { title: "OPEN", align: "right" },
    { title: "UNACK", align: "right" },
    { title: "HELD", align: "right" },
    { title: before === undefined ? "TAKEN" : "TAKEN/S", align: "right" },
    { title: "P50 MS", align: "right" },
    { title: "P99 MS", align: "right" },
  ];
  const rows: string[][] = [];
  const notes = new Map<number, string>();
  for (const backend of status.backends) {
    const old = before?.backends.find(({ name }) => name === backend.name);
    const taken = takenBy(backend);
    const { latency, instances } = backend;
    const sum = (key: "open" | "outstanding") => instances.reduce((total, each) => total + each[key], 0);
    const isHandoff = backend.kind !== "reject";
    rows.push([
      backend.name,
      stateOf(backend),
      "",
      isHandoff ? count(sum("open")) : "",
      isHandoff ? count(sum("outstanding")) : "",
      isHandoff ? count(backend.held) : "",
      before === undefined
        ? count(taken)
        : rate(Math.max(0, taken - (old === undefined ? taken : takenBy(old))) / seconds),
      latency.count > 0 ? milliseconds(latency.p50) : "",
      latency.count > 0 ? milliseconds(latency.p99) : "",
    ]);
    if (backend.targets.length > 0) notes.set(rows.length, `relayed to ${backend.targets.join(", ")}`);
    for (const instance of instances) {
      rows.push([
        `  ${basename(instance.path)}`,
        instance.state,
        instance.pid > 0 ? String(instance.pid) : "",
        count(instance.open),
        count(instance.outstanding),
      ]);
      if (instance.state !== "ready" && instance.lastFailure !== "") notes.set(rows.length, instance.lastFailure);
    }
  }
  return table(columns, rows, width).flatMap((line, index) => {
    const note = notes.get(index);
    return note === undefined ? [line] : [line, shorten(`    ${note}`, width)];
  });
}

/** What came to its end here: acknowledged by an instance, or refused by a backend that is made for that. */
function takenBy({ kind, counters }: BackendStatus): number {
  return (kind === "reject" ? counters.rejected : counters.acknowledged) ?? 0;
}

function stateOf({ kind, drained, instances }: BackendStatus): string {
  if (kind === "reject") return "rejects";
  if (drained) return "DRAINED";
  if (instances.length === 0) return "NOBODY";
  const ready = instances.filter(({ state }) => state === "ready").length;
  if (ready === 0) return "NOT READY";
  return ready === instances.length ? "ready" : `${ready} of ${instances.length}`;
}

/** Counters that are not zero, in as many columns as there is room for. */
function totals(status: Status, before: Status | undefined, seconds: number, width: number): string[] {
  const cells = Object.entries(status.counters)
    .filter(([name, value]) => value !== 0 || name === "accepted")
    .map(([name, value]) => {
      const old = (before?.counters as Readonly<Record<string, number>> | undefined)?.[name] ?? value;
      return [
        name.replaceAll("_", " "),
        before === undefined ? String(value) : count(value),
        value === old ? "" : `${rate((value - old) / seconds)}/s`,
      ] as const;
    });
  const [names = 0, values = 0, rates = 0] = [0, 1, 2].map((part) =>
    Math.max(...cells.map((cell) => cell[part]!.length)),
  );
  const each = names + 1 + values + (rates > 0 ? rates + 1 : 0);
  const columns = Math.max(1, Math.floor((width + 3) / (each + 3)));
  const rows = Math.ceil(cells.length / columns);
  const text = cells.map(([name, value, perSecond]) =>
    `${name.padEnd(names)} ${value.padStart(values)} ${perSecond.padStart(rates)}`.slice(0, each),
  );
  const lines = Array.from({ length: rows }, (_, row) =>
    text.filter((_cell, index) => index % rows === row).join("   "),
  );
  return ["TOTALS", ...lines.map((line) => shorten(line.trimEnd(), width))];
}
