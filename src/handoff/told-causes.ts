/** Which troubles with peers were told already, so that a flood of them is one line, and memory stays bounded. */
import { PeerError, type SystemCallError } from "../errors.js";

/** A cause that was quiet for so long is told again. Milliseconds. */
const QUIET = 600_000;
/** Different causes that are remembered; while all of them are noisy, others are not told. */
const MOST = 100;

export class ToldCauses {
  /** When each was last met. */
  private readonly met: Map<string, number> = new Map();

  /**
   * Whether this is worth telling: the first of its cause for 10 minutes. Of one process and user the same message is the
   * same cause, whatever numbers are in it.
   */
  isNew(error: PeerError | SystemCallError, now: number = performance.now()): boolean {
    const peer = error instanceof PeerError ? `${error.pid} ${error.uid}` : "";
    const cause = `${error.code} ${peer} ${error.message.replaceAll(/\d+/g, "0")}`;
    const before = this.met.get(cause);
    if (before === undefined && this.met.size >= MOST) this.forgetQuiet(now);
    if (before === undefined && this.met.size >= MOST) return false;
    this.met.set(cause, now);
    return before === undefined || now - before >= QUIET;
  }

  private forgetQuiet(now: number): void {
    for (const [cause, at] of this.met) if (now - at >= QUIET) this.met.delete(cause);
  }
}
