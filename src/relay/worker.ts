/**
 * The thread of one worker of the relay: a Relay on its loop, and the control plane's commands between its turns. The
 * first message is its `RelayWorkerData`.
 */
import { parentPort } from "node:worker_threads";
import type { Delivery } from "./delivery.js";
import { Relay } from "./relay.js";
import type { RelayCommand, RelayReport, RelayWorkerData } from "./settings.js";

/** Begins to relay. `delivery` is for what no target takes. */
export function work(makeDelivery: (post: (report: RelayReport) => void) => Delivery): void {
  const port = parentPort!;
  const post = (report: RelayReport) => port.postMessage(report);
  port.once("message", (data: RelayWorkerData) => {
    const relay = new Relay(data, makeDelivery(post), post);
    port.on("message", (command: RelayCommand) => obey(relay, command));
    relay.loop.run(() => relay.turns());
  });
}

function obey(relay: Relay, command: RelayCommand): void {
  switch (command.type) {
    case "configure":
      return relay.configure(command.settings, command.targetMemory);
    case "addresses":
      return relay.addresses(command.backend, command.target, command.addresses, command.failure);
    case "drain":
      return relay.drain(command.timeout);
    case "snapshot":
      return relay.snapshot(command.id);
    case "ping":
      return relay.ping(command.beat);
  }
}
