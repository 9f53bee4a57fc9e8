/** The file that holds the process's id for scripts and service managers. */
import { readFileSync, renameSync, unlinkSync, writeFileSync } from "node:fs";
import { HandoffError } from "../errors.js";

export class PidFile {
  private readonly path: string;

  /** Throws ERR_PATH_UNUSABLE. Whoever reads it meanwhile finds the old number or the new one, never half of one. */
  constructor(path: string) {
    this.path = path;
    const fresh = `${path}.${process.pid}`;
    try {
      writeFileSync(fresh, `${process.pid}\n`);
      renameSync(fresh, path);
    } catch (error) {
      throw new HandoffError("ERR_PATH_UNUSABLE", `cannot write the pidfile: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  /** Leaves it to a process that has taken it over. */
  remove(): void {
    try {
      if (readFileSync(this.path, "utf8").trim() === String(process.pid)) unlinkSync(this.path);
    } catch {
      // Gone, or out of reach since privileges were dropped: a stale number, which readers of pidfiles must expect.
    }
  }
}
