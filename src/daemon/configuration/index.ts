export { configuredBackends, isBuiltIn } from "./built-in.js";
export type { Configuration, ControlSettings, ListenerSettings } from "./configuration.js";
export { type ConfigurationDiff, diffConfigurations, formatDiff } from "./diff.js";
export type { Identity } from "./identity.js";
export { type LoadOptions, loadConfiguration } from "./load.js";
