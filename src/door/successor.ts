/**
 * In an upgrade the process that takes over is, to the worker, one more backend with one instance: what waits or is
 * held is handed to it by the protocol that hands everything over.
 */
import type { HandoffBackendSettings } from "./settings.js";

const MINUTE = 60_000;

export const successorSettings: HandoffBackendSettings = {
  kind: "handoff",
  name: "built-in:successor",
  path: "@successor",
  balance: "round-robin",
  hold: MINUTE,
  maxHeld: Number.MAX_SAFE_INTEGER,
  maxHeldPerClient: Number.MAX_SAFE_INTEGER,
  acknowledgeTimeout: MINUTE,
  connect: "eagerly",
  maxConnections: 0,
  fallback: -1,
  uid: -1,
};
