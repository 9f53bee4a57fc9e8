/**
 * What a process of the door gives to the one that comes after it, be that itself executed again with fewer privileges
 * or a new one in an upgrade: the descriptors, and what they are, in an environment variable.
 */
import { HandoffError } from "../errors.js";
import { native } from "../native/addon.js";
import type { ListenerSource } from "./listeners.js";
import type { GivenUp } from "./privileges/index.js";

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
  /** Undefined: nothing. */
  readonly givenUp: GivenUp | undefined;
}

export function stageEnvironment(stage: Stage): Record<string, string> {
  return { [VARIABLE]: JSON.stringify(stage) };
}

/** Whether this process comes after another one: `takeStage` says of what kind. */
export function isStaged(): boolean {
  return process.env[VARIABLE] !== undefined;
}

/**
 * The stage that this process was started in, or undefined; its variable is removed, as it is no child's business. The
 * descriptors are the caller's. Throws ERR_USAGE for a value that no process of the door has written.
 */
export function takeStage(environment: NodeJS.ProcessEnv = process.env): Stage | undefined {
  const text = environment[VARIABLE];
  if (text === undefined) return undefined;
  delete environment[VARIABLE];
  const stage = parseStage(text);
  if (stage !== undefined) return withOwnDescriptors(stage);
  throw new HandoffError("ERR_USAGE", `the environment variable ${VARIABLE} is for the door's own use: unset it`);
}

function parseStage(text: string): Stage | undefined {
  try {
    const stage = JSON.parse(text) as Stage;
    return (stage.kind === "execute" || stage.kind === "upgrade") && Array.isArray(stage.listeners) ? stage : undefined;
  } catch {
    return undefined;
  }
}

/**
 * With FD_CLOEXEC, or the next process of an upgrade would have them beside those that it is given, and never close them:
 * what nobody listens on any more would still be listening. Node sets it at its start up to the first gap above 15 only.
 */
function withOwnDescriptors(stage: Stage): Stage {
  const own = (descriptor: number): number => {
    if (descriptor < 0) return descriptor;
    const duplicate = native.duplicate(descriptor);
    native.close(descriptor);
    return duplicate;
  };
  return {
    ...stage,
    listeners: stage.listeners.map((listener) => ({ ...listener, descriptor: own(listener.descriptor) })),
    control: own(stage.control),
    metrics: own(stage.metrics),
    channels: stage.channels.map(own),
    standardError: own(stage.standardError),
  };
}
