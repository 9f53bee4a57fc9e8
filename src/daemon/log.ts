/**
 * The daemon's log on standard output: one JSON object a line, or readable lines if that is a terminal.
 *
 * Every line has `level` (a word), `time` (ISO 8601), `event` (a stable name, `channel.ready`) and `message`; the other
 * fields depend on the event.
 */
import { isatty } from "node:tty";
import { type Logger, pino } from "pino";
import type { LogLevel } from "../door/settings.js";
import { LineSink } from "./line-sink.js";
import { withoutControls, withoutHidden } from "./printable.js";

export type Log = Logger;

/** A log, and the way round its level: for lines that have a switch of their own. */
export interface DaemonLog extends Log {
  readonly sink: LineSink;
}

export interface LogOptions {
  /** Least level that is written. */
  readonly level: LogLevel;
  /** Readable lines instead of JSON. Default: if standard output is a terminal. */
  readonly pretty?: boolean;
}

const STANDARD_OUTPUT = 1;

/**
 * Writes at once, so that what was logged before a crash is there, unless standard output takes nothing: then lines wait
 * (line-sink.ts). The level may be set later: `log.level`.
 */
export async function createLog({ level, pretty = isatty(STANDARD_OUTPUT) }: LogOptions): Promise<DaemonLog> {
  const format = pretty ? await prettyFormat() : (line: string) => line;
  const sink = new LineSink(STANDARD_OUTPUT, {
    format: (line) => withoutHidden(format(line)),
    dropped: (lines) => {
      log.warn({ event: "log.dropped", lines }, `${lines} lines were dropped: standard output took no more`);
    },
  });
  process.on("exit", () => sink.flush(() => {}));
  const log = pino(
    {
      level,
      base: null,
      messageKey: "message",
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    sink,
  );
  return Object.assign(log, { sink });
}

/** Loaded only here: pino-pretty takes longer to load than the rest of the log together. */
async function prettyFormat(): Promise<(line: string) => string> {
  const { prettyFactory } = await import("pino-pretty");
  return prettyFactory({
    colorize: process.stdout.hasColors?.() === true,
    messageKey: "message",
    // Fields are printed as JSON; the message would be printed as it is.
    messageFormat: (line, key) => withoutControls(String(line[key] ?? "")),
    translateTime: "SYS:HH:MM:ss.l",
    singleLine: true,
  });
}
