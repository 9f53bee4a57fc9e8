/** The user and group that the door becomes. */
import { noSuch } from "./checks.js";
import { member } from "./outline.js";
import { show } from "./scalars.js";
import type { Report, Source } from "./source.js";
import { findGroup, findUser, HIGHEST_ID } from "./users.js";

export interface Identity {
  readonly uid: number;
  readonly gid: number;
  /** The user's name; its number as text if it has none. */
  readonly user: string;
}

/** From `user` and `group`, each of which may be absent; undefined if both are, or if one is wrong and thus reported. */
export function findIdentity(source: Source, problem: Report): Identity | undefined {
  const user = accountAt(source, "user");
  const group = accountAt(source, "group");
  if (user === undefined && group === undefined) return undefined;
  const found = findUser(user ?? process.getuid!());
  const gid = group === undefined ? found?.gid : findGroup(group);
  if (found === undefined) problem({ source, path: ["user"] }, noSuch("user", user!));
  if (group !== undefined && gid === undefined) problem({ source, path: ["group"] }, noSuch("group", group));
  if (found === undefined) return undefined;
  if (gid !== undefined) return { uid: found.uid, gid, user: found.name };
  if (group === undefined)
    problem(
      { source, path: ["user"] },
      `found ${show(user)}, which has no entry in passwd(5) and so no primary group; allowed: such a number with the key group`,
    );
  return undefined;
}

/** What is malformed is as if it were absent: the schema reports it. */
function accountAt({ value }: Source, key: "user" | "group"): string | number | undefined {
  const account = member(value, key);
  if (typeof account === "string") return account === "" ? undefined : account;
  return typeof account === "number" && account >= 0 && account <= HIGHEST_ID ? account : undefined;
}
