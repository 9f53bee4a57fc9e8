/**
 * Users and groups by name, from the local files (passwd(5), group(5)). Node has no getpwnam(3): accounts that only a
 * directory service knows are given as numbers.
 */
import { readFileSync } from "node:fs";
import { HandoffError } from "../errors.js";

const HIGHEST_ID = 0xfffffffe;

/** The uid of a user given by name or number. Throws ERR_OPTION. */
export function userId(user: string | number): number {
  return resolve("user", "/etc/passwd", user);
}

/** The gid of a group given by name or number. Throws ERR_OPTION. */
export function groupId(group: string | number): number {
  return resolve("group", "/etc/group", group);
}

function resolve(kind: string, file: string, account: string | number): number {
  const number = typeof account === "number" ? account : /^[0-9]+$/.test(account) ? Number(account) : undefined;
  if (number !== undefined) {
    if (Number.isInteger(number) && number >= 0 && number <= HIGHEST_ID) return number;
    throw new HandoffError("ERR_OPTION", `${account} is no ${kind} number; 0 to ${HIGHEST_ID} are allowed`);
  }
  // name:password:id:… in both files.
  const line = readFileSync(file, "utf8")
    .split("\n")
    .find((candidate) => candidate.startsWith(`${account}:`));
  const id = line?.split(":")[2];
  if (id !== undefined && /^[0-9]+$/.test(id)) return Number(id);
  throw new HandoffError(
    "ERR_OPTION",
    `there is no ${kind} "${account}" in ${file}; give its number if a directory service knows it`,
  );
}
