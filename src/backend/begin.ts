/** How a server begins to receive, by `attach` or because its port is in SNI_HANDOFF. */
import cluster from "node:cluster";
import type { Server } from "node:net";
import type { DatagramReceiver } from "../handoff/datagram-receiver.js";
import type { Receiver } from "../handoff/receiver.js";
import type { ListenHow, ServerSink } from "./server-sink.js";

const servers = new WeakMap<Receiver | DatagramReceiver, Server>();

/** Whom a receiver receives for. */
export function serverOf(receiver: Receiver | DatagramReceiver): Server | undefined {
  return servers.get(receiver);
}

/**
 * Gives the server what `receiver` takes for `sink`. If it did not listen, its 'listening' event follows. When this
 * throws, the receiver is closed.
 */
export function begin(server: Server, receiver: Receiver | DatagramReceiver, sink: ServerSink, how: ListenHow): void {
  const isListening = server.listening;
  try {
    sink.start(how, {
      closed: () => receiver.sinkClosed(),
      ref: () => receiver.ref(),
      unref: () => receiver.unref(),
    });
  } catch (error) {
    void receiver.close({ timeout: 0 });
    throw error;
  }
  servers.set(receiver, server);
  if (!isListening) closeWithWorker(receiver);
}

/** A worker's disconnect() closes the servers whose handles cluster knows; this one has to close itself. */
function closeWithWorker(receiver: Receiver | DatagramReceiver): void {
  const { worker } = cluster;
  if (worker === undefined) return;
  const close = () => void receiver.close();
  worker.once("disconnect", close);
  receiver.once("drained", () => worker.removeListener("disconnect", close));
}
