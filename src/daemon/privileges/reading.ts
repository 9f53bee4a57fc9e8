/** Whether files can be read by the user that the door is to be. */
import { type Identity, native } from "../../native/addon.js";

export interface Unreadable {
  readonly file: string;
  /** An errno name: EACCES, ENOENT. */
  readonly code: string;
}

/**
 * Those of `files` that `identity` cannot open for reading, or, with undefined, this process itself (Landlock
 * included). A configuration file among them means that a reload will fail.
 */
export function unreadableFor(identity: Identity | undefined, files: readonly string[]): Unreadable[] {
  const codes = native.tryReading(identity, files);
  return files.flatMap((file, i) => (codes[i] === "" ? [] : [{ file, code: codes[i]! }]));
}
