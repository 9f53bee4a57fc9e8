/** Names of users to their numbers. Node offers no getpwnam(3). */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** The uid of a user of this system, or undefined. Asks /etc/passwd, then what nsswitch.conf(5) names beside it. */
export function findUid(name: string): number | undefined {
  return uidIn(readFileSync("/etc/passwd", "utf8"), name) ?? uidIn(getent(name), name);
}

function uidIn(passwd: string, name: string): number | undefined {
  for (const line of passwd.split("\n")) {
    const [user, , uid] = line.split(":");
    if (user === name && uid !== undefined && /^\d+$/.test(uid)) return Number(uid);
  }
  return undefined;
}

/** getent(1) comes with the C library; it exits with 2 for an unknown user, and is missing from some containers. */
function getent(name: string): string {
  try {
    return execFileSync("getent", ["passwd", "--", name], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  } catch {
    return "";
  }
}
