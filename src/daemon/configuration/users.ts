/** Users and groups of this system: the local files (passwd(5), group(5)), then what nsswitch.conf(5) names beside them. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** (uid_t)-1 is no account: setuid(2), chown(2). */
export const HIGHEST_ID = 0xffff_fffe;

export interface User {
  readonly uid: number;
  /** The primary group; undefined for a number without an entry. */
  readonly gid: number | undefined;
  /** The number as text if there is no entry. */
  readonly name: string;
}

/** A user by name or number; undefined for a name that nobody has. A number needs no entry. */
export function findUser(user: string | number): User | undefined {
  const [name, , uid, gid] = entry("passwd", String(user)) ?? [];
  if (name !== undefined && isNumber(uid))
    return { uid: Number(uid), gid: isNumber(gid) ? Number(gid) : undefined, name };
  return isNumber(String(user)) ? { uid: Number(user), gid: undefined, name: String(user) } : undefined;
}

/** A group's number by its name or number; undefined for a name that no group has. */
export function findGroup(group: string | number): number | undefined {
  const text = String(group);
  const gid = isNumber(text) ? text : entry("group", text)?.[2];
  return isNumber(gid) ? Number(gid) : undefined;
}

function isNumber(text: string | undefined): text is string {
  return text !== undefined && /^\d+$/.test(text) && Number(text) <= HIGHEST_ID;
}

type Database = "passwd" | "group";

/** The fields of one line: name, password, number, … in both databases. */
function entry(database: Database, key: string): string[] | undefined {
  const field = isNumber(key) ? 2 : 0;
  return find(localLines(database), field, key) ?? find(getent(database, key), field, key);
}

function find(lines: string, field: number, key: string): string[] | undefined {
  return lines
    .split("\n")
    .map((line) => line.split(":"))
    .find((fields) => fields[field] === key);
}

/** A container may have neither file. */
function localLines(database: Database): string {
  try {
    return readFileSync(`/etc/${database}`, "utf8");
  } catch {
    return "";
  }
}

/** getent(1) comes with the C library; it exits with 2 for what is unknown, and is missing from some containers. */
function getent(database: Database, key: string): string {
  try {
    return execFileSync("getent", [database, "--", key], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  } catch {
    return "";
  }
}
