/** Exit statuses, and how errors become them. */
import { withoutControls, withoutHidden } from "../daemon/printable.js";
import { HandoffError, SystemCallError } from "../errors.js";

export const ExitStatus = {
  DONE: 0,
  /** Failed while running. */
  FAILED: 1,
  /** Wrong usage or configuration. */
  USAGE: 2,
} as const;
export type ExitStatus = (typeof ExitStatus)[keyof typeof ExitStatus];

export const EXIT_STATUSES = "Exit status: 0 done, 1 failed while running, 2 wrong usage or configuration.";

/** Says on standard error what failed. Only errors that nobody foresaw come with their stack. */
export function reportFailure(error: unknown): ExitStatus {
  const foreseen = error instanceof HandoffError || error instanceof SystemCallError;
  const text = foreseen ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error);
  // Paths may have any character.
  const lines = text.split("\n").map((line) => withoutHidden(withoutControls(line)));
  process.stderr.write(`${lines.join("\n")}\n`);
  const usage = foreseen && ["ERR_CONFIGURATION", "ERR_IMPORT", "ERR_USAGE"].includes(error.code);
  return usage ? ExitStatus.USAGE : ExitStatus.FAILED;
}

/** Wrong usage: `message` says what to do instead. */
export function usageError(message: string): HandoffError {
  return new HandoffError("ERR_USAGE", message);
}
