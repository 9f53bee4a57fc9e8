/** All rules, in the order in which they are tried: those that end the receiver late, those about the whole run last. */
import type { Rule } from "../rule.js";
import { acknowledgingRules } from "./acknowledging.js";
import { channelRules } from "./channels.js";
import { endingRules } from "./ending.js";
import { readyRules } from "./ready.js";
import { refusingRules } from "./refusing.js";
import { revokingRules } from "./revoking.js";
import { throughoutRules } from "./throughout.js";
import { violationRules } from "./violations.js";

export const rules: readonly Rule[] = [
  ...readyRules,
  ...acknowledgingRules,
  ...refusingRules,
  ...revokingRules,
  ...violationRules,
  ...channelRules,
  ...endingRules,
  ...throughoutRules,
];
