/** The conformance kit: plays the door against any receiver of the handoff protocol. README.md has the rules. */
export type { Options } from "./options.js";
export { type ProbeKind, probeKinds } from "./probe.js";
export type { Rule, RuleResult } from "./rule.js";
export { rules } from "./rules/index.js";
export { chosenRules, conform } from "./run.js";
export { json, ruleLine, tapEnd, tapHead, tapLine } from "./tap.js";
