/** The new process's side of an upgrade: says when it is ready, and takes over what the process before has. */
import { native } from "../../native/addon.js";
import type { FollowerMessage, LeaderMessage } from "./messages.js";
import { Predecessor, type TakenOver } from "./predecessor.js";

export class Follower {
  private readonly predecessors: Predecessor[];
  private readonly told: Promise<void>;

  /**
   * Owns the channels' descriptors. `take` gets each connection that the process before gives away; `end` hears how often
   * that one was told to end.
   */
  constructor(channels: readonly number[], take: (connection: TakenOver) => void, end: (times: number) => void) {
    this.predecessors = channels.map((descriptor) => new Predecessor(descriptor, take));
    this.told = new Promise((resolve) => {
      process.on("message", (message: LeaderMessage) => {
        if (message.type === "accept") resolve();
        else if (message.type === "end") end(message.times);
      });
      // It died: then its clients are this process's all the more. (One that gives this process up kills it.)
      process.once("disconnect", resolve);
      if (!process.connected) resolve();
    });
  }

  /** Everything is there. Resolves when this process is to accept. */
  async prepared(): Promise<void> {
    await send({ type: "prepared", hearsEnd: true });
    await this.told;
  }

  /** This process accepts: what the other one has comes now. `standardError` takes the place of what the other one reads. */
  async accepting(standardError: number): Promise<void> {
    for (const predecessor of this.predecessors) predecessor.start();
    await send({ type: "accepting" });
    if (standardError >= 0) {
      native.duplicateOnto(standardError, 2);
      native.close(standardError);
    }
    process.channel?.unref();
  }
}

/** Tells the process before, if there is one, why this one cannot take over. */
export async function sayFailed(error: Error): Promise<void> {
  await send({ type: "failed", message: error.message });
}

/** Resolves when it was written, or cannot be: the other process is gone. */
function send(message: FollowerMessage): Promise<void> {
  return new Promise((resolve) => {
    if (process.connected) process.send!(message, undefined, undefined, () => resolve());
    else resolve();
  });
}
