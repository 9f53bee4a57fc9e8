/**
 * One line a connection, from the rings that the workers fill to the log's output.
 *
 * Which connections are recorded is the workers' matter (`accessLog` of the configuration); what is recorded is written
 * whatever `log.level` says. While the output takes nothing the rings are not read: then they overflow, and the workers
 * count what is lost. Nothing here grows, and nothing waits for it.
 */
import type { AccessEvent } from "../door/access-events.js";
import { MatchKind, matchedPattern } from "../routing/match.js";
import type { DaemonLog } from "./log.js";
import { printable } from "./printable.js";

/** The reading end of one worker's ring. */
export interface AccessEvents {
  /** Calls back for at most `most` events; returns how many there were. */
  read(each: (event: AccessEvent) => void, most?: number): number;
  /** Events that found no room, so far. */
  readonly dropped: number;
}

/** What the indices of a generation's events stand for; "": nothing that an operator knows. */
export interface AccessNames {
  readonly listeners: readonly string[];
  readonly backends: readonly string[];
  /** As configured. */
  readonly patterns: readonly string[];
}

export interface AccessLogOptions {
  /** How often the rings are read. Milliseconds. */
  readonly every?: number;
  /** Most lines in that time: more wait in the rings, so that the control plane keeps time for everything else. */
  readonly most?: number;
}

const EVERY = 250;
const MOST = 5000;
/** Lines for one write. */
const BATCH = 256;
/** Generations whose names are kept: events of earlier ones may still be in the rings. */
const GENERATIONS = 16;
/** How often losses are said, at most. Milliseconds. */
const DROPPED_EVERY = 1000;
/** Most lines at the end: more than the rings hold, unless the workers still write. */
const MOST_AT_CLOSE = 500_000;

export class AccessLog {
  private readonly readers: AccessEvents[];
  private readonly log: DaemonLog;
  private readonly most: number;
  private readonly names: Map<number, AccessNames> = new Map();
  private readonly timer: NodeJS.Timeout;
  /** Lines that may be written before the next tick of the timer. */
  private allowance: number;
  private waitsForOutput: boolean = false;
  private droppedBefore: number = 0;
  private droppedSaid: number = 0;
  private saidAt: number = Number.NEGATIVE_INFINITY;
  private closed: boolean = false;

  constructor(readers: readonly AccessEvents[], log: DaemonLog, { every = EVERY, most = MOST }: AccessLogOptions = {}) {
    this.readers = [...readers];
    this.log = log;
    this.most = most;
    this.allowance = most;
    this.timer = setInterval(() => this.tick(), every);
    this.timer.unref();
  }

  /** Events lost so far: the rings were full. */
  get dropped(): number {
    return this.readers.reduce((sum, reader) => sum + reader.dropped, this.droppedBefore);
  }

  /** Before the workers are told of the generation. */
  configure(generation: number, names: AccessNames): void {
    this.names.set(generation, names);
    for (const old of this.names.keys()) {
      if (this.names.size <= GENERATIONS) break;
      this.names.delete(old);
    }
  }

  /** Writes what the rings have, as far as the output takes it and the limit for this time allows. */
  flush(): void {
    const { sink } = this.log;
    let read = 1;
    while (read > 0 && this.allowance > 0 && !sink.congested) {
      read = 0;
      for (const reader of [...this.readers]) {
        if (this.allowance <= 0 || sink.congested) break;
        sink.cork();
        const lines = this.copy(reader, Math.min(BATCH, this.allowance));
        sink.uncork();
        read += lines;
        this.allowance -= lines;
      }
    }
    if (sink.congested && !this.waitsForOutput) {
      this.waitsForOutput = true;
      sink.onceDrained(() => {
        this.waitsForOutput = false;
        if (!this.closed) this.flush();
      });
    }
    this.sayDropped();
  }

  /** Writes what is left, as far as the output takes it. */
  close(): void {
    if (this.closed) return;
    clearInterval(this.timer);
    this.allowance = MOST_AT_CLOSE;
    this.saidAt = Number.NEGATIVE_INFINITY;
    this.flush();
    this.closed = true;
  }

  private tick(): void {
    this.allowance = this.most;
    this.flush();
  }

  private copy(reader: AccessEvents, most: number): number {
    try {
      return reader.read((event) => this.log.sink.write(this.line(event)), most);
    } catch (error) {
      // A defect: the door goes on without this worker's lines.
      this.droppedBefore += reader.dropped;
      this.readers.splice(this.readers.indexOf(reader), 1);
      const { message, stack } = error as Error;
      this.log.error({ event: "access.failed", stack }, `a worker's access log cannot be read any more: ${message}`);
      return 0;
    }
  }

  private sayDropped(): void {
    const { dropped } = this;
    const now = performance.now();
    if (dropped === this.droppedSaid || now - this.saidAt < DROPPED_EVERY) return;
    const lines = dropped - this.droppedSaid;
    this.droppedSaid = dropped;
    this.saidAt = now;
    this.log.warn({ event: "access.dropped", lines }, `${lines} lines of the access log were dropped: it is too slow`);
  }

  /** Fields without a value are left out. */
  private line(event: AccessEvent): string {
    const names = this.names.get(event.generation);
    const backend = names?.backends[event.backend] || undefined;
    const serverName = printable(event.serverName);
    const line = {
      level: "info",
      time: new Date(event.acceptedAt).toISOString(),
      event: "access",
      connection_id: event.connectionId,
      listener: names?.listeners[event.listener],
      client: event.client?.address,
      client_port: event.client?.port,
      proxy: event.proxy?.address,
      protocol: event.protocol === "http" ? "http" : undefined,
      server_name: serverName || undefined,
      alpn: printable(event.alpn) || undefined,
      tls_version: tlsVersion(event.tlsVersion),
      ech: event.ech,
      route: route(event, names),
      backend,
      instance_pid: event.pid > 0 ? event.pid : undefined,
      outcome: event.outcome,
      reason: event.reason || undefined,
      waited_ms: milliseconds(event.waited),
      held_ms: milliseconds(event.held),
      handoff_ms: milliseconds(event.handoff),
      total_ms: milliseconds(event.total),
      message: message(event, serverName, backend),
    };
    return `${JSON.stringify(line)}\n`;
  }
}

/** As configured, behind its kind: "wildcard *.example.com", "default, rule 2"; undefined if none was looked up. */
function route(event: AccessEvent, names: AccessNames | undefined): string | undefined {
  const matched = match(event, names);
  const { rule } = event.route;
  return matched === undefined || rule < 0 ? matched : `${matched}, rule ${rule + 1}`;
}

function match({ route: { kind, length, pattern }, serverName }: AccessEvent, names: AccessNames | undefined) {
  switch (kind) {
    case MatchKind.EXACT:
      return `exact ${printable(matchedPattern(kind, length, serverName))}`;
    case MatchKind.WILDCARD:
      return `wildcard ${printable(matchedPattern(kind, length, serverName))}`;
    case MatchKind.PATTERN:
      return `pattern ${names?.patterns[pattern] ?? ""}`.trimEnd();
    case MatchKind.DEFAULT:
    case MatchKind.NO_SERVER_NAME:
      return matchedPattern(kind, length, serverName);
    default:
      return undefined;
  }
}

/** legacy_version and supported_versions: RFC 8446 §4.2.1. */
function tlsVersion(version: number): string | undefined {
  if (version === 0) return undefined;
  if (version === 0x0300) return "SSL 3.0";
  if (version > 0x0300 && version <= 0x0304) return `1.${(version & 0xff) - 1}`;
  return `0x${version.toString(16).padStart(4, "0")}`;
}

/** To the microsecond. */
function milliseconds(value: number): number | undefined {
  return value >= 0 ? Math.round(value * 1000) / 1000 : undefined;
}

function message({ outcome, reason }: AccessEvent, serverName: string, backend: string | undefined): string {
  const what = outcome.replaceAll("_", " ");
  const whither = outcome === "handed_over" && backend !== undefined ? ` to ${backend}` : "";
  return `${serverName || "no name"}: ${what}${whither}${reason === "" ? "" : ` (${reason})`}`;
}
