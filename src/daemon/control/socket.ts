/** The control socket: a listening unix stream socket that a daemon and its successor may share. */
import { HandoffError } from "../../errors.js";
import { adoptPath, type ClaimedPath, claimPath } from "../../handoff/path.js";
import { native } from "../../native/addon.js";

/** Connections that wait to be accepted: unix(7) refuses more. */
const BACKLOG = 128;

export interface ControlSocketOptions {
  /** Permission bits of the path. 0660 if absent. */
  readonly mode?: number;
  /** Group of the path; -1 or absent: as created. */
  readonly gid?: number;
}

/**
 * Not by `server.listen(path)`: libuv removes a path that it has bound when its server closes, also while a successor
 * still listens there. The descriptor goes to `server.listen({ fd })`, which takes it over, and may be inherited by
 * another process; `release` is for whoever is the last.
 *
 * Throws ERR_PATH_IN_USE, naming the daemon that lives there, or ERR_PATH_UNUSABLE.
 */
export function openControlSocket(path: string, { mode = 0o660, gid = -1 }: ControlSocketOptions = {}): ClaimedPath {
  if (path.endsWith("/")) {
    throw new HandoffError("ERR_PATH_UNUSABLE", `the control socket ${path} is a folder; give it a file name`);
  }
  return claimPath(path, { backlog: BACKLOG, mode, gid }, { type: "stream", folders: false });
}

/**
 * A control socket that was inherited. Throws ERR_PATH_UNUSABLE if `descriptor` isn't one that listens at `path`; it is
 * still the caller's then.
 */
export function adoptControlSocket(descriptor: number, path: string): ClaimedPath {
  const socket = native.unixSocket(descriptor);
  if (socket?.type !== "stream" || !socket.listening || socket.path !== path) {
    const found = socket === undefined ? "no unix socket" : `a ${socket.type} socket at "${socket.path}"`;
    throw new HandoffError(
      "ERR_PATH_UNUSABLE",
      `the inherited descriptor ${descriptor} is ${found}; a listening stream socket at ${path} is needed`,
    );
  }
  return adoptPath(descriptor, path);
}
