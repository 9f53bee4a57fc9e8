/**
 * The daemon's log on standard output: one JSON object a line, or readable lines if that is a terminal.
 *
 * Every line has `level` (a word), `time` (ISO 8601), `event` (a stable name, `channel.ready`) and `message`; the other
 * fields depend on the event.
 */
import { type DestinationStream, type Logger, pino } from "pino";
import type { LogLevel } from "../door/settings.js";

export type Log = Logger;

export interface LogOptions {
  /** Least level that is written. */
  readonly level: LogLevel;
  /** Readable lines instead of JSON. Default: if standard output is a terminal. */
  readonly pretty?: boolean;
}

/** Writes synchronously, so that what was logged before a crash is there. The level may be set later: `log.level`. */
export async function createLog({ level, pretty = process.stdout.isTTY === true }: LogOptions): Promise<Log> {
  return pino(
    {
      level,
      base: null,
      messageKey: "message",
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pretty ? await prettyStream() : jsonStream(),
  );
}

function jsonStream(): DestinationStream {
  const stream = pino.destination({ fd: 1, sync: true });
  // EPIPE: whoever read the log is gone. The door goes on.
  stream.on("error", () => {});
  return stream;
}

/** Loaded only here: pino-pretty takes longer to load than the rest of the log together. */
async function prettyStream(): Promise<DestinationStream> {
  const { default: pretty } = await import("pino-pretty");
  return pretty({
    colorize: process.stdout.hasColors?.() === true,
    messageKey: "message",
    translateTime: "SYS:HH:MM:ss.l",
    singleLine: true,
    sync: true,
  });
}
