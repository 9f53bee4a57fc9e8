/** The privileges that this process has, for the status and the log. */
import { readFileSync } from "node:fs";
import { capabilityNames } from "./capabilities.js";
import { processStatus } from "./process-status.js";

export interface PrivilegesInForce {
  /** Its name, or its number if it has none. */
  readonly user: string;
  readonly uid: number;
  readonly gid: number;
  readonly noNewPrivileges: boolean;
  /** Effective: "CAP_NET_BIND_SERVICE". */
  readonly capabilities: readonly string[];
  /** "abi 6: 5 paths", "off", "not in this kernel", … */
  readonly landlock: string;
}

/**
 * As the kernel tells, except `landlock`, of which it tells nothing: that is `PrivilegePlan.outcome`, kept through the
 * environment.
 */
export function privilegesInForce(landlock: string): PrivilegesInForce {
  const { uid, gid, capabilities, noNewPrivileges } = processStatus();
  return { user: userName(uid), uid, gid, noNewPrivileges, capabilities: capabilityNames(capabilities), landlock };
}

/** From passwd(5). */
function userName(uid: number): string {
  try {
    const accounts = readFileSync("/etc/passwd", "utf8").split("\n");
    const account = accounts.map((line) => line.split(":")).find((fields) => fields[2] === String(uid));
    return account?.[0] ?? String(uid);
  } catch {
    return String(uid);
  }
}
