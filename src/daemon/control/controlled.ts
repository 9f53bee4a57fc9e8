/** What can be asked of a running daemon, and told to it. */
import type { Status } from "../status.js";

/** `ok`: false if it could not be done, with the reason as the message. */
export interface Answer {
  readonly ok: boolean;
  readonly message: string;
  readonly details?: readonly string[];
}

/** None of these throws but for a defect; names and levels are checked here, not by the caller. */
export interface Controlled {
  status(): Promise<Status>;
  metrics(): Promise<{ contentType: string; text: string }>;
  reload(): Promise<Answer>;
  /** Resolves when the new process accepts, or has failed. */
  upgrade(): Promise<Answer>;
  /** What a reload would change. */
  diff(): Promise<Answer>;
  /** `target`: "backend", or "backend/file-name-of-an-instance". */
  drain(target: string): Promise<Answer>;
  undrain(target: string): Promise<Answer>;
  /** Resolves once the stop has begun. */
  stop(): Promise<Answer>;
  setLogLevel(level: string): Promise<Answer>;
}
