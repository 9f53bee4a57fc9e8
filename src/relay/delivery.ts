/** How a connection that no target takes reaches the instances of a backend that receives descriptors. */
import type { RelayFallback } from "./settings.js";

export type HandoffFallback = Extract<RelayFallback, { kind: "handoff" }>;

export interface Delivery {
  /**
   * Gives a connection to an instance. Nothing was read from it here, nothing written. `handoff` is the HANDOFF that it
   * came with, as a latin1 string: id, name and addresses stay as they were. The descriptor stays the caller's, who
   * closes it when this has resolved: to true once an instance has acknowledged it; to false if none has, and none has
   * it. Never rejects.
   */
  deliver(fallback: HandoffFallback, descriptor: number, handoff: string): Promise<boolean>;
  /** The configuration names other fallbacks now: channels to those that are not among them may be closed. */
  configure(fallbacks: readonly HandoffFallback[]): void;
  /** Closes what is open. */
  close(): void;
}
