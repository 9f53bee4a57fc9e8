/**
 * The running process's side of an upgrade: starts the program anew, and hands over once that is ready. Until then, and
 * if it fails, nothing changes here.
 */
import { withoutPassedDescriptors } from "../../handoff/activation.js";
import { native } from "../../native/addon.js";
import { type Stage, stageEnvironment } from "../stage.js";
import type { FollowerMessage } from "./messages.js";
import { FIRST, NewProcess, type NewProcessEnd } from "./new-process.js";

export interface UpgradeOffer {
  /** Number of workers, each of which gets a channel. */
  readonly workers: number;
  readonly listeners: Stage["listeners"];
  /** Listening sockets; -1: none. */
  readonly control: number;
  readonly metrics: number;
  readonly isManaged: boolean;
  readonly givenUp: Stage["givenUp"];
  readonly drained: readonly string[];
  /** Added to this process's, for the new one. */
  readonly environment: Readonly<Record<string, string>>;
  /** How long the new process may take to be prepared, and again to accept. Milliseconds. */
  readonly timeout: number;
  /** Gives the upgrade up. */
  readonly signal: AbortSignal;
  /** Called between the two. The new process may have clients from now on: it is not for `signal` any more. */
  readonly prepared: (candidate: Candidate) => void;
  /** Called when one that has not taken over is gone. */
  readonly failed: (pid: number) => void;
}

/** A process that is about to take over, or has. Each order returns whether it could be told. */
export interface Candidate {
  readonly pid: number;
  reload(): boolean;
  /** As a signal that ends it, the first or the second; but one that has come to it by itself too is not another one. */
  end(times: number): boolean;
}

/** A process that has taken over. */
export interface Successor {
  readonly pid: number;
  /** This process's ends of the channels: the caller's from now on. */
  readonly channels: readonly number[];
  /** Resolves when it ends. */
  readonly ended: Promise<NewProcessEnd>;
  /** Lets this process end, and the new one live on. */
  release(): void;
}

/** Starts the new program. Rejects with an Error that says why this process has to go on by itself. */
export async function startSuccessor(offer: UpgradeOffer): Promise<Successor> {
  const ours: number[] = [];
  const theirs: number[] = [];
  try {
    for (let worker = 0; worker < offer.workers; worker++) {
      const [mine, other] = native.socketPair("seqpacket");
      ours.push(mine);
      theirs.push(other);
      native.askCredentials(mine, true);
    }
    const child = startChild(offer, theirs);
    try {
      await lead(child, offer);
    } catch (error) {
      child.kill("SIGKILL");
      await child.ended;
      if (child.pid !== undefined) offer.failed(child.pid);
      throw error;
    }
    return {
      pid: child.pid!,
      channels: ours,
      ended: child.ended,
      release: () => child.release(),
    };
  } catch (error) {
    for (const descriptor of ours) native.close(descriptor);
    throw error;
  } finally {
    for (const descriptor of theirs) native.close(descriptor);
  }
}

function startChild(offer: UpgradeOffer, channels: readonly number[]): NewProcess {
  const inherited: number[] = [];
  const pass = (descriptor: number) => (descriptor < 0 ? -1 : FIRST + inherited.push(descriptor) - 1);
  const stage: Stage = {
    kind: "upgrade",
    listeners: offer.listeners.map((listener) => ({ ...listener, descriptor: pass(listener.descriptor) })),
    control: pass(offer.control),
    metrics: pass(offer.metrics),
    channels: channels.map(pass),
    standardError: pass(2),
    isManaged: offer.isManaged,
    drained: offer.drained,
    givenUp: offer.givenUp,
  };
  return new NewProcess(
    { ...withoutPassedDescriptors(process.env), ...offer.environment, ...stageEnvironment(stage) },
    inherited,
  );
}

async function lead(child: NewProcess, offer: UpgradeOffer): Promise<void> {
  const { hearsEnd = false } = await answer(child, "prepared", offer, offer.signal);
  offer.prepared(candidate(child, hearsEnd));
  child.send({ type: "accept" });
  await answer(child, "accepting", offer);
}

function candidate(child: NewProcess, hearsEnd: boolean): Candidate {
  return {
    pid: child.pid!,
    reload: () => child.kill("SIGHUP"),
    end: (times) => (hearsEnd ? child.send({ type: "end", times }) : child.kill("SIGTERM")),
  };
}

type Said<Type extends FollowerMessage["type"]> = Extract<FollowerMessage, { type: Type }>;

/** Resolves when the new process has said this; rejects if it says that it failed, ends, or takes too long. */
async function answer<Type extends FollowerMessage["type"]>(
  child: NewProcess,
  type: Type,
  { timeout }: UpgradeOffer,
  signal?: AbortSignal,
): Promise<Said<Type>> {
  signal?.throwIfAborted();
  let timer: NodeJS.Timeout | undefined;
  let listen: ((message: FollowerMessage) => void) | undefined;
  let giveUp: (() => void) | undefined;
  const said = new Promise<Said<Type>>((resolve, reject) => {
    listen = (message) => {
      if (message.type === type) resolve(message as Said<Type>);
      else if (message.type === "failed") reject(new Error(message.message));
    };
    child.on("message", listen);
  });
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`the new process ${child.pid} was not ready within ${timeout / 1000} s${quoted(child)}`));
    }, timeout);
  });
  const ended = child.ended.then(({ how }) => {
    throw new Error(`the new process ${how} before it was ready${quoted(child)}`);
  });
  const givenUp = new Promise<never>((_, reject) => {
    giveUp = () => reject(signal!.reason);
    signal?.addEventListener("abort", giveUp);
  });
  try {
    return await Promise.race([said, late, ended, givenUp]);
  } finally {
    clearTimeout(timer);
    child.off("message", listen!);
    signal?.removeEventListener("abort", giveUp!);
    for (const each of [ended, givenUp]) each.catch(() => {});
  }
}

function quoted({ said }: NewProcess): string {
  return said === "" ? "" : `; it said: ${said}`;
}
