/** The thread of one worker of the relay, with the way to backends that receive descriptors. */
import { Deliverer } from "../../handoff/deliver.js";
import { work } from "../../relay/worker.js";

work(() => new Deliverer());
