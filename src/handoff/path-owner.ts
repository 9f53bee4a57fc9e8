/** Whose a socket's path is, which tells who may receive connections there. */
import { lstatSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";

const WRITABLE_BY_ALL = 0o002;

/**
 * The owner of a path; undefined if that proves nothing: for an abstract address, and where the way to the path leads
 * through a folder in which every user may make something (/tmp) and what is there is of a stranger's making, who was just
 * the first. No strangers are root, this process's user, and `trusted`; -1: no other. Throws as lstat(2) does.
 */
export function ownerOf(path: string, trusted: number): number | undefined {
  if (path.startsWith("@")) return undefined;
  const { uid } = lstatSync(path);
  const known = new Set([0, trusted, process.geteuid!()]);
  // As it is written, and where links in it lead.
  const ways = new Set([path, join(realpathSync(dirname(path)), basename(path))]);
  return [...ways].some((way) => isStrangers(way, known)) ? undefined : uid;
}

function isStrangers(way: string, known: ReadonlySet<number>): boolean {
  for (let at = way, folder = dirname(at); folder !== at; at = folder, folder = dirname(at)) {
    const isForAll = (statSync(folder).mode & WRITABLE_BY_ALL) !== 0;
    if (isForAll && !known.has(lstatSync(at).uid)) return true;
  }
  return false;
}
