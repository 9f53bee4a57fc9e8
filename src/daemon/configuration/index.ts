export type { Configuration, ListenerSettings } from "./configuration.js";
export { type LoadOptions, loadConfiguration } from "./load.js";
