/**
 * The life of a listening unix socket's path (a receiver's, the control socket's): bound under its folder's lock, a dead owner's remains removed, a living
 * owner respected and named, and on release removed only if it still is the one that was bound.
 */
import { randomBytes } from "node:crypto";
import { type BigIntStats, lstatSync, readdirSync, statSync, unlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { HandoffError, SystemCallError } from "../errors.js";
import { native, type UnixListenOptions } from "../native/addon.js";
import { processName } from "./process-name.js";

/** sun_path of unix(7) has 108 bytes, one of them for the NUL. */
const MAX_PATH_LENGTH = 107;

/** What this library calls its own sockets in a folder. Only these are removed there when they are stale. */
const OWN_SOCKET = /^[0-9]+-[0-9a-f]+\.sock$/;

type ListeningType = "seqpacket" | "stream" | "dgram";

export interface ClaimOptions {
  /** "seqpacket" if absent. */
  readonly type?: ListeningType;
  /** Whether a folder may be given. true if absent. */
  readonly folders?: boolean;
}

export interface ClaimedPath {
  /** The listening socket; the caller closes it. */
  readonly descriptor: number;
  /** The path of the socket itself, also where a folder was asked for; abstract addresses begin with "@". */
  readonly path: string;
  /** Removes the path if it still is the socket that was bound here. Does not close the descriptor. */
  release(): void;
}

/**
 * Listens on `path`: an abstract address ("@name"), a socket's path, or a folder (an existing one, or any path that
 * ends in "/"), which gets a socket `<pid>-<random>.sock`.
 *
 * Throws ERR_PATH_IN_USE (a living process has the path) and ERR_PATH_UNUSABLE (everything else, with the failed
 * system call as its cause).
 */
export function claimPath(
  path: string,
  options: UnixListenOptions,
  { type = "seqpacket", folders = true }: ClaimOptions = {},
): ClaimedPath {
  if (path.startsWith("@")) return claimAbstract(path, options, type);
  const inFolder = folders && (path.endsWith("/") || isFolder(path));
  const folder = inFolder ? path : dirname(path);
  const lock = lockFolderOf(folder, path);
  try {
    if (inFolder) removeStale(folder, type);
    const socket = inFolder ? join(folder, `${process.pid}-${randomBytes(4).toString("hex")}.sock`) : path;
    const descriptor = bindPath(socket, options, type);
    const identity = identify(socket);
    return { descriptor, path: socket, release: () => removeOwn(socket, folder, identity) };
  } finally {
    native.close(lock);
  }
}

/** An inherited listening socket: `release` removes the path as long as it is what is there now. */
export function adoptPath(descriptor: number, path: string): ClaimedPath {
  if (path.startsWith("@")) return { descriptor, path, release: () => {} };
  const identity = identify(path);
  return { descriptor, path, release: () => removeOwn(path, dirname(path), identity) };
}

function claimAbstract(path: string, options: UnixListenOptions, type: ListeningType): ClaimedPath {
  try {
    return { descriptor: native.listenUnix(path, type, options), path, release: () => {} };
  } catch (error) {
    if (codeOf(error) !== "EADDRINUSE") throw unusable(path, error);
    const found = probe(path, type);
    throw inUse(path, type, found.state === "alive" ? found.pid : undefined);
  }
}

/** Binds under the folder's lock: nobody who takes the lock too can be between bind and listen now. */
function bindPath(path: string, options: UnixListenOptions, type: ListeningType): number {
  if (Buffer.byteLength(path) > MAX_PATH_LENGTH) {
    throw new HandoffError(
      "ERR_PATH_UNUSABLE",
      `the socket path ${path} has ${Buffer.byteLength(path)} bytes; ${MAX_PATH_LENGTH} are allowed`,
    );
  }
  for (let attempt = 1; ; attempt++) {
    try {
      return native.listenUnix(path, type, options);
    } catch (error) {
      if (codeOf(error) !== "EADDRINUSE" || attempt > 3) throw unusable(path, error);
    }
    const found = probe(path, type);
    if (found.state === "alive") throw inUse(path, type, found.pid);
    if (found.state === "stale") removeDead(path);
  }
}

type Probe = { state: "absent" } | { state: "stale" } | { state: "alive"; pid: number | undefined };

/** What is at a path that could not be bound. Throws if that is no socket or may not be connected to. */
function probe(path: string, type: ListeningType): Probe {
  const isAbstract = path.startsWith("@");
  if (!isAbstract) {
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (stats === undefined) return { state: "absent" };
    if (!stats.isSocket()) {
      throw new HandoffError(
        "ERR_PATH_UNUSABLE",
        `${path} exists and is ${kindOf(stats)}, not a socket; remove it or choose another path`,
      );
    }
  }
  let connection: number;
  try {
    connection = native.connectUnix(path, type, {});
  } catch (error) {
    switch (codeOf(error)) {
      case "ECONNREFUSED":
        return isAbstract ? { state: "absent" } : { state: "stale" };
      case "ENOENT":
        return { state: "absent" };
      // A full backlog, and a socket of another type: somebody lives there.
      case "EAGAIN":
      case "EPROTOTYPE":
        return { state: "alive", pid: undefined };
      default:
        throw unusable(path, error);
    }
  }
  try {
    // Datagram sockets have no credentials of their peers: unix(7), SO_PEERCRED.
    return { state: "alive", pid: type === "dgram" ? undefined : native.peerCredentials(connection).pid };
  } finally {
    native.close(connection);
  }
}

/** A socket whose owner is gone; or what has taken its place since. Throws ERR_PATH_UNUSABLE. */
function removeDead(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return;
    const owner = lstatSync(path, { throwIfNoEntry: false })?.uid;
    throw new HandoffError(
      "ERR_PATH_UNUSABLE",
      `cannot listen on ${path}: the socket of a process that is gone is there, of user ${owner}, and may not be removed (${code}); remove it, or choose another path`,
      { cause: error },
    );
  }
}

/** Removes sockets that earlier processes left in a folder. Whatever else is there is let alone. */
function removeStale(folder: string, type: ListeningType): void {
  for (const name of readdirSync(folder)) {
    if (!OWN_SOCKET.test(name)) continue;
    const path = join(folder, name);
    try {
      if (probe(path, type).state === "stale") unlinkSync(path);
    } catch {
      // Somebody else's, or gone meanwhile: no reason not to bind one's own.
    }
  }
}

function removeOwn(path: string, folder: string, identity: string | undefined): void {
  let lock: number;
  try {
    lock = native.lockFolder(folder);
  } catch {
    return; // The folder is gone or out of reach, and the path with it.
  }
  try {
    if (identity !== undefined && identify(path) === identity) unlinkSync(path);
  } catch {
    // Without permission any more: the next owner removes it as stale.
  } finally {
    native.close(lock);
  }
}

/** Device, inode and birth of a path: inode numbers alone are used again at once. */
function identify(path: string): string | undefined {
  const stats: BigIntStats | undefined = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return stats && `${stats.dev}:${stats.ino}:${stats.birthtimeNs}`;
}

function lockFolderOf(folder: string, path: string): number {
  try {
    return native.lockFolder(folder);
  } catch (error) {
    const reason =
      codeOf(error) === "ENOENT"
        ? `its folder ${folder} does not exist; create it`
        : codeOf(error) === "ENOTDIR"
          ? `${folder} is not a folder`
          : codeOf(error) === "EACCES"
            ? `no permission to open its folder ${folder}`
            : codeOf(error) === "EAGAIN"
              ? `another process has kept its folder ${folder} locked (flock) for 2 s`
              : (error as Error).message;
    throw new HandoffError("ERR_PATH_UNUSABLE", `cannot listen on ${path}: ${reason}`, { cause: error });
  }
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

function kindOf(stats: { isDirectory(): boolean; isSymbolicLink(): boolean; isFile(): boolean }): string {
  if (stats.isDirectory()) return "a folder";
  if (stats.isSymbolicLink()) return "a symbolic link";
  return stats.isFile() ? "a file" : "a device or pipe";
}

function inUse(path: string, type: ListeningType, pid: number | undefined): HandoffError {
  const owner = pid === undefined ? "a living process" : processName(pid);
  const remedy =
    type !== "seqpacket"
      ? "stop it, or choose another path"
      : "stop it, choose another path, or use a folder for several processes";
  return new HandoffError("ERR_PATH_IN_USE", `${path} is in use by ${owner}; ${remedy}`);
}

function unusable(path: string, cause: unknown): HandoffError {
  const reason =
    codeOf(cause) === "EACCES" || codeOf(cause) === "EPERM"
      ? `no permission (${(cause as Error).message})`
      : (cause as Error).message;
  return new HandoffError("ERR_PATH_UNUSABLE", `cannot listen on ${path}: ${reason}`, { cause });
}

function codeOf(error: unknown): string {
  if (error instanceof SystemCallError) return error.code;
  throw error;
}
