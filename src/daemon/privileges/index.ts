export { beyondReach } from "./beyond-reach.js";
export { type Facts, gatherFacts } from "./facts.js";
export { type PrivilegesInForce, privilegesInForce } from "./in-force.js";
export { withoutInspector } from "./inspector.js";
export { type LandlockPlan, landlockPlan } from "./landlock-plan.js";
export { type PrivilegePlan, planPrivileges } from "./plan.js";
export { type Unreadable, unreadableFor } from "./reading.js";
export { type Reexecution, reexecute } from "./reexecute.js";
export type { PrivilegeSettings } from "./settings.js";
