/** A text of another program that cannot be read at all. */
import { HandoffError } from "../errors.js";
import type { Place } from "./draft.js";

export function importError({ file, line }: Place, message: string): HandoffError {
  return new HandoffError("ERR_IMPORT", `${file}:${line}: ${message}`);
}
