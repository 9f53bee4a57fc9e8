/** Settings of a door whose routes have no conditions. */
import type { RoutingRules } from "../../src/door/settings.js";
import { NO_TARGET } from "../../src/routing/table.js";

export const noRules: RoutingRules = { lists: [], patterns: [], defaultTarget: NO_TARGET, lastTarget: NO_TARGET };
