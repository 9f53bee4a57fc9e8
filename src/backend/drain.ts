/** The end of a process that receives, without cutting a request: told by a signal, bounded by a deadline. */
import { once } from "node:events";
import type { Server } from "node:net";
import { HandoffError } from "../errors.js";
import type { DatagramReceiver } from "../handoff/datagram-receiver.js";
import type { Receiver } from "../handoff/receiver.js";
import { integer } from "../handoff/receiver-options.js";
import { serverOf } from "./begin.js";
import { OpenWork } from "./open-work.js";

export interface DrainOptions {
  /** What begins the end. A second one ends the process at once, as if there were no listener. Default: SIGTERM, SIGINT. */
  readonly signals?: readonly NodeJS.Signals[];
  /** After so many milliseconds the connections that are still open are closed. Default 30,000. */
  readonly deadline?: number;
  /**
   * Called when the end begins, and awaited, until the deadline, while the connections end. What only the application
   * can end belongs here: WebSockets, by `socket.close(1001)` of all that are open, and of those that open still
   * (examples/node-ws); else they stay until the deadline.
   */
  readonly onDrain?: () => unknown;
  /**
   * Called, and awaited, when the last connection is closed, with how many of them the deadline has cut. The place to
   * close databases. By default the process then exits with `process.exitCode`, or 0.
   */
  readonly onDrained?: (cut: number) => unknown;
  /** false: the process ends by itself, when nothing keeps it alive any more. Default true. */
  readonly exit?: boolean;
}

type AnyReceiver = Receiver | DatagramReceiver;

/** At most what a timer can wait. */
const LONGEST = 0x7fff_ffff;

/**
 * At a signal: the doors are told to send no more, what they had sent already is served, open requests are answered,
 * each connection is closed behind its last answer, and the process exits. Call it right after `attach`.
 *
 * Returns a function that undoes the call, as long as no signal came. Throws ERR_OPTION.
 */
export function drainOnSignal(receivers: AnyReceiver | readonly AnyReceiver[], options: DrainOptions = {}): () => void {
  const { signals = ["SIGTERM", "SIGINT"], onDrain, onDrained, exit = true } = options;
  const deadline = integer("deadline", options.deadline ?? 30_000, 0, LONGEST);
  const all = [receivers].flat() as AnyReceiver[];
  const servers = [...new Set(all.map(knownServer))];
  const works = servers.map((server) => new OpenWork(server));

  const stopListening = () => {
    for (const signal of signals) process.removeListener(signal, begin);
  };
  const begin = async () => {
    stopListening();
    const told = (async () => onDrain?.())();
    const cut = await drain(all, servers, works, deadline, told);
    await onDrained?.(cut);
    if (exit) process.exit();
  };
  for (const signal of signals) process.once(signal, begin);
  return () => {
    stopListening();
    for (const work of works) work.stop();
  };
}

function knownServer(receiver: AnyReceiver): Server {
  const server = serverOf(receiver);
  if (server !== undefined) return server;
  throw new HandoffError("ERR_OPTION", "drainOnSignal needs the receiver that attach() or receive() gave, or several");
}

/** Resolves when everything is closed, and `told`, or the deadline is over, to the number of connections that were cut. */
async function drain(
  receivers: readonly AnyReceiver[],
  servers: readonly Server[],
  works: readonly OpenWork[],
  deadline: number,
  told: Promise<unknown>,
): Promise<number> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      for (const receiver of receivers) void receiver.close({ timeout: 0 });
      for (const work of works) work.cut();
      resolve();
    }, deadline);
  });
  for (const work of works) work.retire();
  const allClosed = async () => {
    await Promise.all(receivers.map((receiver) => receiver.close()));
    await Promise.all(servers.map((server) => closed(server)));
  };
  await Promise.all([allClosed(), Promise.race([told, over])]);
  clearTimeout(timer);
  return works.reduce((sum, work) => sum + work.wereCut, 0);
}

/** Also for one that listens on a port beside, or is closed already and waits for its last connection. */
async function closed(server: Server): Promise<void> {
  const isOpen = () => new Promise((resolve) => server.getConnections((error, count) => resolve(!error && count > 0)));
  const end = once(server, "close");
  end.catch(() => {});
  if (server.listening) server.close();
  else if (!(await isOpen())) return;
  await end;
}
