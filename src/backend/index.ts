/**
 * The library for Node backends: `import { attach } from "sni-handoff/backend"`.
 */

export type { Address } from "../addresses.js";
export { HandoffError, PeerError, SystemCallError } from "../errors.js";
export type {
  DatagramCounts,
  DatagramFault,
  DatagramReceiver,
  DatagramReceiverEvents,
  DatagramReceiverOptions,
} from "../handoff/datagram-receiver.js";
export type {
  Receiver,
  ReceiverCounts,
  ReceiverEvents,
  ReceiverOptions,
  RefusalReason,
} from "../handoff/receiver.js";
export {
  type AttachOptions,
  attach,
  type DatagramAttachOptions,
  type DatagramReceiveOptions,
  type ReceiveOptions,
  receive,
} from "./attach.js";
export { type DrainOptions, drainOnSignal } from "./drain.js";
export { type GuardOptions, guard } from "./guard.js";
export { type HandedOver, type HandoffInfo, handoffInfo } from "./info.js";
