/**
 * Connections that lay in a preloaded server's queue for so long that the helper acknowledged them in its place: they are
 * the server's, and go with its listener, as those in a backlog do (native/preload/README.md). Whether there are any is a
 * matter of how long the server had no processor.
 */
import type { LogLine } from "../../support/door-process.js";

/** native/preload/helper/main.c's TICK_MILLISECONDS: none is as young. */
const LEAST = 150;

/** Of a door's log with `accessLog: all`, "192.0.2.1:1234" of each client whose connection may be lost by a server that ends. */
export function leftInQueue(log: readonly LogLine[]): Set<string> {
  const left = log.filter(
    ({ event, outcome, handoff_ms }) =>
      event === "access" && outcome === "handed_over" && (handoff_ms as number) >= LEAST,
  );
  return new Set(left.map(({ client, client_port }) => `${client}:${client_port}`));
}
