/** The file that holds the process's id for scripts and service managers. */
import { readFileSync, renameSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { HandoffError } from "../errors.js";

export class PidFile {
  private readonly path: string;
  private readonly fresh: string;

  /**
   * Writes it beside its place, where nobody looks for it, into a file of its own: not through a link that somebody put
   * there (open(2), O_EXCL). Throws ERR_PATH_UNUSABLE.
   */
  constructor(path: string) {
    this.path = path;
    this.fresh = `${path}.${process.pid}`;
    this.attempt(() => this.write());
  }

  private write(): void {
    rmSync(this.fresh, { force: true });
    writeFileSync(this.fresh, `${process.pid}\n`, { flag: "wx" });
  }

  /**
   * Puts it in its place: whoever reads it meanwhile finds the old number or the new one, never half of one. Throws
   * ERR_PATH_UNUSABLE.
   */
  publish(): void {
    this.attempt(() => renameSync(this.fresh, this.path));
  }

  /** A process that was to take it over has ended, wherever it was killed. Throws ERR_PATH_UNUSABLE. */
  keep(other: number): void {
    this.attempt(() => {
      rmSync(`${this.path}.${other}`, { force: true });
      if (this.isOwn()) return;
      this.write();
      renameSync(this.fresh, this.path);
    });
  }

  private isOwn(): boolean {
    try {
      return readFileSync(this.path, "utf8").trim() === String(process.pid);
    } catch {
      return false;
    }
  }

  /** Leaves it to a process that has taken it over. */
  remove(): void {
    try {
      rmSync(this.fresh, { force: true });
      if (this.isOwn()) unlinkSync(this.path);
    } catch {
      // Gone, or out of reach since privileges were dropped: a stale number, which readers of pidfiles must expect.
    }
  }

  private attempt(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.remove();
      const { code, message } = error as NodeJS.ErrnoException;
      throw new HandoffError("ERR_PATH_UNUSABLE", `cannot write the pidfile ${this.path}: ${remedy(code) ?? message}`, {
        cause: error,
      });
    }
  }
}

function remedy(code: string | undefined): string | undefined {
  switch (code) {
    case "ENOENT":
      return "its folder does not exist; create it";
    case "EACCES":
    case "EPERM":
      return "not permitted; its folder must be writable for the door's user, and in reach of its Landlock rules since its start";
    case "EISDIR":
      return "it is a folder";
    default:
      return undefined;
  }
}
