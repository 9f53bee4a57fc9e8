/** What a receiver can be told, and the listening socket that follows from it. */
import { HandoffError } from "../errors.js";
import { groupId, userId } from "./accounts.js";
import { takePassedSocket } from "./activation.js";
import { type ClaimedPath, claimPath } from "./path.js";

/** Where a receiver's socket is, and whose. */
export interface PathOptions {
  /**
   * Where doors connect: a socket's path, an abstract address ("@name"), or a folder (an existing one, or any path that
   * ends in "/"), in which the process makes a socket of its own, `<pid>-<random>.sock`: so several processes serve one
   * backend. The folder itself must exist. May be left out if `fdName` is given. Datagrams have no folders.
   */
  readonly path?: string;
  /**
   * Use the socket that the service manager passed under this name (FileDescriptorName= in the .socket unit). Without
   * it, a passed socket that is bound to `path` is used. If no sockets were passed at all, `path` is bound.
   */
  readonly fdName?: string;
  /** Permission bits of the path. Default 0o660. The door needs write permission. */
  readonly mode?: number;
  /** Group of the path, by name or number: the door's. Default: the process's own. */
  readonly group?: string | number;
  /** Owner of the path, by name or number. Default: the process's user. Changing it takes privileges. */
  readonly owner?: string | number;
}

export interface ReceiverOptions extends PathOptions {
  /** Connections that each worker of a door may have on the way at once, 1 to 128. Default 128. */
  readonly window?: number;
  /** Share of the backend's connections relative to its other instances, 1 to 65535. Default 1. */
  readonly weight?: number;
  /**
   * Users, by name or number, whose processes may be doors; others are disconnected. Default: whoever may write to the
   * path.
   */
  readonly allowedUsers?: readonly (string | number)[];
  /**
   * How long `close` waits for the doors to close their channels, in milliseconds. Default 10,000. What they have not
   * been told about by then goes to other instances.
   */
  readonly drainTimeout?: number;
  /**
   * For a service that its socket starts (systemd.socket(5)): when no connection has been open and none came for so
   * many milliseconds, the receiver closes as by `close` and emits "idle"; if nothing else keeps the process alive, it
   * ends with status 0. The next client starts it again. A connection that arrives meanwhile is served, and ends the
   * idleness. With a passed socket not before 2.5 s after the start, since the service manager limits how often it
   * starts a service. Default: never.
   */
  readonly idleTimeout?: number;
}

export interface ListeningSocket extends ClaimedPath {
  /** By the service manager, which keeps it when this process ends. */
  readonly isPassed: boolean;
}

/** listen(2) backlog of the path: channels, not connections. */
const BACKLOG = 511;

/**
 * A listening SEQPACKET socket, or a bound datagram socket, passed by the service manager or bound. The caller closes the
 * descriptor, and calls `release` to remove the path, if it is this process's.
 */
export function listen(options: PathOptions, type: "seqpacket" | "dgram" = "seqpacket"): ListeningSocket {
  const { path, fdName } = options;
  if (path === undefined && fdName === undefined) throw new HandoffError("ERR_OPTION", "path (or fdName) is needed");
  if (path === "") throw new HandoffError("ERR_OPTION", "path is empty");
  const passed = takePassedSocket({ path, name: fdName, type });
  if (passed !== undefined) return { ...passed, isPassed: true, release: () => {} };
  if (path === undefined) {
    throw new HandoffError(
      "ERR_OPTION",
      `no socket named "${fdName}" was passed (LISTEN_FDS), and there is no path to bind instead`,
    );
  }
  const claimed = claimPath(
    path,
    {
      backlog: BACKLOG,
      mode: integer("mode", options.mode ?? 0o660, 0, 0o777),
      uid: options.owner === undefined ? -1 : userId(options.owner),
      gid: options.group === undefined ? -1 : groupId(options.group),
    },
    { type, folders: type === "seqpacket" },
  );
  return { ...claimed, isPassed: false };
}

/** Checks an option. Throws ERR_OPTION. */
export function integer(name: string, value: number, lowest: number, highest: number): number {
  if (Number.isInteger(value) && value >= lowest && value <= highest) return value;
  throw new HandoffError("ERR_OPTION", `${name} is ${value}; a whole number from ${lowest} to ${highest} is needed`);
}
