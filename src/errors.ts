/**
 * Every error that sni-handoff throws or logs by a code. Imports nothing.
 *
 * Codes are stable: scripts may compare them. Messages say what failed, with which value, and what to do.
 */

export type ErrorCode =
  /** The configuration is wrong; `problems` lists every place. Exit status 2. */
  | "ERR_CONFIGURATION"
  /** The command line is wrong. Exit status 2. */
  | "ERR_USAGE"
  /** An option given to the library has a value that is not allowed. */
  | "ERR_OPTION"
  /** A listening socket cannot be had. */
  | "ERR_LISTEN"
  /** A worker thread ended by itself: a defect. */
  | "ERR_WORKER"
  /** The native addon is missing or was built for another Node. */
  | "ERR_ADDON_MISSING"
  /** A unix socket path is held by a living process. */
  | "ERR_PATH_IN_USE"
  /** A unix socket path exists and is not a socket, or is too long, or otherwise unusable. */
  | "ERR_PATH_UNUSABLE"
  /** A message on a channel breaks the handoff protocol. */
  | "ERR_PROTOCOL"
  /** A peer process may not do what it tried. */
  | "ERR_NOT_PERMITTED"
  /** Another program's configuration cannot be imported. Exit status 2. */
  | "ERR_IMPORT"
  /** No daemon answers on the control socket, or what answers is none. */
  | "ERR_CONTROL"
  /** Something is used after it was closed. */
  | "ERR_CLOSED";

/** An error of sni-handoff itself. */
export class HandoffError extends Error {
  override readonly name = "HandoffError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * A system call that failed. Thrown by the native addon, which is handed this class once.
 *
 * `code` is the errno's name ("ECONNREFUSED"), `errno` its positive number, `syscall` the call ("connect"),
 * `subject` the path or address that it was about, where there is one.
 */
export class SystemCallError extends Error {
  override readonly name = "SystemCallError";
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;
  readonly subject: string | undefined;

  constructor(syscall: string, code: string, errno: number, description: string, subject?: string) {
    super(`${syscall}${subject === undefined ? "" : ` ${subject}`}: ${description} (${code})`);
    this.syscall = syscall;
    this.code = code;
    this.errno = errno;
    this.subject = subject;
  }
}

/** What a peer process did wrong on a channel (ERR_PROTOCOL, ERR_NOT_PERMITTED), and which process it was. */
export class PeerError extends HandoffError {
  /** Process, user and group of the peer when it connected, as the kernel tells (unix(7), SO_PEERCRED). */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;

  constructor(code: ErrorCode, message: string, peer: { pid: number; uid: number; gid: number }) {
    super(code, message);
    this.pid = peer.pid;
    this.uid = peer.uid;
    this.gid = peer.gid;
  }
}

/** One thing that is wrong in a configuration. Lines and columns count from 1. */
export interface Problem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** The path of keys to the value: `backends.app.hold`; empty for the document itself. */
  readonly key: string;
  /** What was found and what is allowed. */
  readonly message: string;
}

/** A configuration that cannot be used; carries every problem found, not only the first. */
export class ConfigurationError extends HandoffError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super("ERR_CONFIGURATION", problems.map(formatProblem).join("\n"));
    this.problems = problems;
  }
}

/**
 * `file:line:column: key: message`, as compilers write it: one line, and nothing in it that a terminal obeys (\uNNNN
 * instead), since maps and included files may be others' than the operator's.
 */
export function formatProblem({ file, line, column, key, message }: Problem): string {
  return `${file}:${line}:${column}: ${key === "" ? "" : `${key}: `}${message}`.replace(
    /[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
