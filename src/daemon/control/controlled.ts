/** What can be asked of a running daemon, and told to it. */
import type { Status } from "../status.js";

/** `ok`: false if it could not be done, with the reason as the message. */
export interface Answer {
  readonly ok: boolean;
  readonly message: string;
  readonly details?: readonly string[];
}

/** What every process of this program can be asked. None of these throws but for a defect; levels are checked here. */
export interface Asked {
  status(): Promise<object>;
  metrics(): Promise<{ contentType: string; text: string }>;
  reload(): Promise<Answer>;
  /** Resolves once the stop has begun. */
  stop(): Promise<Answer>;
  setLogLevel(level: string): Promise<Answer>;
}

/** The door. Names are checked here, too, not by the caller. */
export interface Controlled extends Asked {
  status(): Promise<Status>;
  /** Resolves when the new process accepts, or has failed. */
  upgrade(): Promise<Answer>;
  /** What a reload would change. */
  diff(): Promise<Answer>;
  /** `target`: "backend", or "backend/file-name-of-an-instance". */
  drain(target: string): Promise<Answer>;
  undrain(target: string): Promise<Answer>;
}

/** The relay. */
export interface ControlledRelay extends Asked {
  /** A door looks whether its relay is there, and is taken into account. */
  meet(): Promise<Answer>;
  /** A door ends, and none takes its place as far as it knows. */
  part(): Promise<Answer>;
}
