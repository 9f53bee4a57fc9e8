/**
 * The thread of one worker: a Door on its loop, and the control plane's commands between its turns. The first message
 * is its `WorkerData`.
 */
import { parentPort } from "node:worker_threads";
import { Door } from "./door.js";
import type { WorkerCommand, WorkerData, WorkerReport } from "./settings.js";

const port = parentPort!;

// The thread may be there before it is known what it is to do.
port.once("message", begin);

function begin(data: WorkerData): void {
  const door = new Door(data, (report: WorkerReport) => port.postMessage(report));
  port.on("message", (command: WorkerCommand) => obey(door, command));
  port.postMessage({ type: "configured", generation: data.settings.generation } satisfies WorkerReport);
  door.loop.run(() => door.turns());
}

function obey(door: Door, command: WorkerCommand): void {
  switch (command.type) {
    case "configure":
      return door.configure(command);
    case "instances":
      return door.instances(command.backend, command.paths);
    case "appeared":
      return door.appeared(command.path);
    case "accept":
      return door.accept();
    case "passOn":
      return door.passOn(command.descriptor);
    case "adopt":
      return door.adopt(command.connection);
    case "drained":
      return door.setDrained(command.targets);
    case "snapshot":
      return door.snapshot(command.id);
    case "drain":
      return door.drain(command.timeout);
    case "ping":
      return door.ping(command.beat);
  }
}
