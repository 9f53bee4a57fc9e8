/** Names of users to their numbers. */
import { execFileSync } from "node:child_process";
import { userId } from "../../handoff/accounts.js";

/** The uid of a user of this system, or undefined. Asks the local files, then what nsswitch.conf(5) names beside them. */
export function findUid(name: string): number | undefined {
  try {
    return userId(name);
  } catch {
    return uidOf(getent(name));
  }
}

/** From a line of passwd(5). */
function uidOf(line: string): number | undefined {
  const uid = line.split(":")[2];
  return uid !== undefined && /^\d+$/.test(uid) ? Number(uid) : undefined;
}

/** getent(1) comes with the C library; it exits with 2 for an unknown user, and is missing from some containers. */
function getent(name: string): string {
  try {
    return execFileSync("getent", ["passwd", "--", name], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  } catch {
    return "";
  }
}
