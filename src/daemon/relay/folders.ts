/** The relay's folder, and in it one for each backend: only its own user may put sockets there, others may look. */
import { closeSync, constants, fchmodSync, fchownSync, lstatSync, mkdirSync, openSync, rmdirSync } from "node:fs";
import { dirname } from "node:path";
import { HandoffError } from "../../errors.js";

const MODE = 0o755;
const WRITABLE_BY_OTHERS = 0o022;

export interface FolderOwner {
  readonly uid: number;
  readonly gid: number;
}

/** Throws ERR_PATH_UNUSABLE, which says what to do. `owner`: who the process becomes. */
export function makeRelayFolder(folder: string, owner?: FolderOwner): void {
  const path = folder.replace(/\/+$/, "");
  try {
    mkdirSync(dirname(path), { recursive: true, mode: MODE });
    make(path, owner);
  } catch (error) {
    throw unusable(path, remedy(error as NodeJS.ErrnoException), error);
  }
  check(path, owner?.uid ?? process.geteuid!());
}

export function makeBackendFolders(folder: string, backends: readonly string[]): void {
  for (const backend of backends) {
    const path = `${folder}${backend}`;
    try {
      make(path);
    } catch (error) {
      throw unusable(path, remedy(error as NodeJS.ErrnoException), error);
    }
    check(path, process.geteuid!());
  }
}

/** Those of backends that are gone, where nobody has sockets any more. What else is there is not the relay's. */
export function removeBackendFolders(folder: string, backends: readonly string[]): void {
  for (const backend of backends) {
    try {
      rmdirSync(`${folder}${backend}`);
    } catch {
      // Another relay's, which drains; or removed already.
    }
  }
}

/**
 * Unless it is there. Mode (whatever the umask) and owner are set by a descriptor: who may write to the folder around it,
 * such as the user that the door becomes, could have put a link to another folder in its place.
 */
function make(path: string, owner?: FolderOwner): void {
  try {
    mkdirSync(path, MODE);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return;
  }
  const made = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    fchmodSync(made, MODE);
    if (owner !== undefined) fchownSync(made, owner.uid, owner.gid);
  } finally {
    closeSync(made);
  }
}

/** Who else may write there could take the place of the relay. */
function check(path: string, uid: number): void {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats?.isDirectory() !== true)
    throw unusable(path, "it is not a folder; remove it, or choose another relay.folder");
  if (stats.uid !== uid && stats.uid !== 0) {
    throw unusable(path, `it belongs to user ${stats.uid}; chown it to user ${uid}, or choose another relay.folder`);
  }
  if ((stats.mode & WRITABLE_BY_OTHERS) !== 0) {
    throw unusable(
      path,
      `its mode ${(stats.mode & 0o7777).toString(8)} lets others put sockets there; chmod go-w ${path}`,
    );
  }
}

function unusable(path: string, reason: string, cause?: unknown): HandoffError {
  return new HandoffError("ERR_PATH_UNUSABLE", `cannot use the relay's folder ${path}: ${reason}`, { cause });
}

function remedy({ code, message }: NodeJS.ErrnoException): string {
  switch (code) {
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return `not permitted (${code}); make it for the relay's user (RuntimeDirectory= under systemd), or choose another relay.folder`;
    default:
      return message;
  }
}
