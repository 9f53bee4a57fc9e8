/**
 * What a process of the door gives to the one that comes after it, be that itself executed again with fewer privileges
 * or a new one in an upgrade: the descriptors, and what they are, in an environment variable.
 */
import { HandoffError } from "../errors.js";
import type { ListenerSource } from "./listeners.js";

const VARIABLE = "SNI_HANDOFF_STAGE";

export interface Stage {
  readonly kind: "execute" | "upgrade";
  readonly listeners: readonly {
    /** As configured; absent: nothing was configured for it. */
    readonly name?: string | undefined;
    readonly descriptor: number;
    readonly source: ListenerSource;
  }[];
  /** Listening sockets; -1: none. */
  readonly control: number;
  readonly metrics: number;
  /** The control socket is the service manager's. */
  readonly isManaged: boolean;
  /** What the operator has drained. */
  readonly drained: readonly string[];
  /** Upgrade: channels over which the process before gives what waits or is held, one for each of its workers. */
  readonly channels: readonly number[];
  /** Upgrade: what is to be standard error when the process before need not read it any more; -1: what it is already. */
  readonly standardError: number;
  /** What Landlock has been told; "" if this is not known. */
  readonly landlock: string;
}

export function stageEnvironment(stage: Stage): Record<string, string> {
  return { [VARIABLE]: JSON.stringify(stage) };
}

/**
 * The stage that this process was started in, or undefined; its variable is removed, as it is no child's business. The
 * descriptors are the caller's. Throws ERR_USAGE for a value that no process of the door has written.
 */
export function takeStage(environment: NodeJS.ProcessEnv = process.env): Stage | undefined {
  const text = environment[VARIABLE];
  if (text === undefined) return undefined;
  delete environment[VARIABLE];
  try {
    const stage = JSON.parse(text) as Stage;
    if ((stage.kind === "execute" || stage.kind === "upgrade") && Array.isArray(stage.listeners)) return stage;
  } catch {}
  throw new HandoffError("ERR_USAGE", `the environment variable ${VARIABLE} is for the door's own use: unset it`);
}
