/**
 * Users and groups of this system: the local files (passwd(5), group(5)), then what nsswitch.conf(5) names beside them.
 * Of the latter a door that gave up its privileges finds users by their names only: it may not execute getent(1).
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { native } from "../../native/addon.js";

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
  const text = String(user);
  const [name, , uid, gid] = localEntry("passwd", text) ?? (isNumber(text) ? getent("passwd", text) : undefined) ?? [];
  if (name !== undefined && isNumber(uid))
    return { uid: Number(uid), gid: isNumber(gid) ? Number(gid) : undefined, name };
  if (isNumber(text)) return { uid: Number(text), gid: undefined, name: text };
  const account = accountOf(text);
  return account && { ...account, name: text };
}

/** A group's number by its name or number; undefined for a name that no group has. */
export function findGroup(group: string | number): number | undefined {
  const text = String(group);
  const gid = isNumber(text) ? text : (localEntry("group", text) ?? getent("group", text))?.[2];
  return isNumber(gid) ? Number(gid) : undefined;
}

function isNumber(text: string | undefined): text is string {
  return text !== undefined && /^\d+$/.test(text) && Number(text) <= HIGHEST_ID;
}

type Database = "passwd" | "group";

/** The fields of one line: name, password, number, … in both databases. */
function localEntry(database: Database, key: string): string[] | undefined {
  return find(localLines(database), key);
}

function find(lines: string, key: string): string[] | undefined {
  const field = isNumber(key) ? 2 : 0;
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
function getent(database: Database, key: string): string[] | undefined {
  try {
    const lines = execFileSync("getent", [database, "--", key], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    return find(lines, key);
  } catch {
    return undefined;
  }
}

/** A name that cannot be one, such as one that is too long, is nobody's. */
function accountOf(name: string): { uid: number; gid: number } | undefined {
  try {
    return native.findAccount(name);
  } catch {
    return undefined;
  }
}
