/**
 * Asks a daemon over its control socket. Every way in which that fails is an ERR_CONTROL that says what to do; every
 * text in an answer is safe for a terminal.
 */
import { lstatSync } from "node:fs";
import { request as httpRequest, type IncomingMessage, type RequestOptions } from "node:http";
import { HandoffError } from "../../errors.js";
import type { RelayStatus } from "../relay/status.js";
import type { Status } from "../status.js";
import { clean, cleanLine, cleanText } from "./clean.js";
import type { Answer } from "./controlled.js";

/** Where a daemon's socket is looked for if nothing else is said. */
export const DEFAULT_CONTROL = "/run/sni-handoff/control.sock";

/** Milliseconds. */
const DEFAULT_TIMEOUT = 10_000;
/** Bytes of an answer; a status of a thousand backends has less than one. */
const MAX_ANSWER = 64 * 2 ** 20;
/** sun_path of unix(7), less its NUL: Node would cut a longer path. */
const MAX_PATH_LENGTH = 107;

export interface AskOptions {
  readonly body?: string;
  /** Milliseconds until the whole answer must be there. */
  readonly timeout?: number;
  /** Ends it early, with an ERR_CONTROL. */
  readonly signal?: AbortSignal;
}

export async function askStatus(control: string, options: AskOptions = {}): Promise<Status> {
  const { status, value } = await ask(control, "GET", "/status", options);
  if (status === 200 && isStatus(value)) return value;
  const { version, kind } = value as { version?: unknown; kind?: unknown };
  if (kind === "relay") throw failure(`behind ${control} is a relay: ask it with status --relay`);
  if (typeof version === "string") throw failure(`the daemon behind ${control} is of another version: ${version}`);
  throw status === 200 ? notOurs(control, "its status is none") : failure(faultOf(control, status, value));
}

/** Whether what answers is a relay. Throws as `askStatus` if nothing does. */
export async function isRelay(control: string, options: AskOptions = {}): Promise<boolean> {
  const { value } = await ask(control, "GET", "/status", options);
  return (value as { kind?: unknown }).kind === "relay";
}

/** The same of a relay. */
export async function askRelayStatus(control: string, options: AskOptions = {}): Promise<RelayStatus> {
  const { status, value } = await ask(control, "GET", "/status", options);
  const { kind } = value as { kind?: unknown };
  if (status !== 200) throw failure(faultOf(control, status, value));
  if (kind !== "relay") throw notOurs(control, "its status is not a relay's");
  return value as RelayStatus;
}

/** `path`: with a target percent-encoded, see `targetPath`. An answer that is not `ok` is returned as well. */
export async function askTo(
  control: string,
  method: "GET" | "POST" | "PUT",
  path: string,
  options: AskOptions = {},
): Promise<Answer> {
  const { status, value } = await ask(control, method, path, options);
  if ((status === 200 || status === 409) && isAnswer(value)) return value;
  throw failure(faultOf(control, status, value));
}

/** "/drain" and "app/1.sock" to "/drain/app/1.sock". */
export function targetPath(path: string, target: string): string {
  return `${path}/${target.split("/").map(encodeURIComponent).join("/")}`;
}

async function ask(
  control: string,
  method: string,
  path: string,
  { body, timeout = DEFAULT_TIMEOUT, signal }: AskOptions,
): Promise<{ status: number; value: object }> {
  if (Buffer.byteLength(control) > MAX_PATH_LENGTH) {
    throw failure(`the path ${control} is too long for a socket: at most ${MAX_PATH_LENGTH} bytes`);
  }
  const deadline = AbortSignal.timeout(timeout);
  let answer: { status: number; text: string };
  try {
    answer = await exchange(control, method, path, body, signal ? AbortSignal.any([deadline, signal]) : deadline);
  } catch (error) {
    if (error instanceof HandoffError) throw error;
    if (deadline.aborted) {
      throw failure(
        `the daemon behind ${control} did not answer within ${timeout / 1000} s; its log may say why`,
        error,
      );
    }
    throw explain(control, error as NodeJS.ErrnoException);
  }
  try {
    // What a status has is shown within lines; answers have lines.
    const value = clean(JSON.parse(answer.text), path === "/status" ? cleanLine : cleanText);
    if (typeof value === "object" && value !== null) return { status: answer.status, value };
  } catch {}
  throw notOurs(control, "its answer is no JSON");
}

async function exchange(
  control: string,
  method: string,
  path: string,
  body: string | undefined,
  signal: AbortSignal,
): Promise<{ status: number; text: string }> {
  const to = control.startsWith("@") ? await connectAbstract(control) : { socketPath: control, agent: false };
  return new Promise((resolve, reject) => {
    const headers = { Host: "localhost", Connection: "close", "Content-Length": Buffer.byteLength(body ?? "") };
    const sent = httpRequest({ ...to, method, path, headers, signal });
    sent.on("error", reject);
    sent.on("response", (response) => {
      read(control, response).then((text) => resolve({ status: response.statusCode ?? 0, text }), reject);
    });
    sent.end(body);
  });
}

/** Not by Node: that of version 20 fills abstract names up with NULs to the length of sun_path, which are other names. */
async function connectAbstract(control: string): Promise<RequestOptions> {
  const { native } = await import("../../native/addon.js");
  const { Socket } = await import("node:net");
  const fd = native.connectUnix(control, "stream", {});
  return { createConnection: () => new Socket({ fd }) };
}

async function read(control: string, response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > MAX_ANSWER) throw notOurs(control, `its answer has more than ${MAX_ANSWER} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

function explain(control: string, error: NodeJS.ErrnoException): HandoffError {
  const elsewhere = "give its path with --control, or with --config the configuration that names it";
  switch (error.code) {
    case "ENOENT":
    case "ENOTDIR":
      return failure(
        `there is no control socket ${control}: no daemon runs, or it has another one; ${elsewhere}`,
        error,
      );
    case "ECONNREFUSED":
      if (isNoSocket(control)) return failure(`${control} is not a socket; ${elsewhere}`, error);
      return failure(`no daemon runs behind ${control}: start it; or if it has another socket, ${elsewhere}`, error);
    case "EACCES":
    case "EPERM":
      return failure(`no permission to use ${control}: be root, its owner, or in its group (ls -l ${control})`, error);
    case "EPROTOTYPE":
      return notOurs(control, "it is a unix socket of another type", error);
    case "EAGAIN":
      return failure(`the daemon behind ${control} is too busy to answer; try again`, error);
    // net.Server's maxConnections, a daemon that has just ended, or another program.
    case "ECONNRESET":
    case "EPIPE":
      return failure(
        `what listens on ${control} closed the connection without an answer: the daemon is ending or too busy, or it is another program`,
        error,
      );
    default:
      if (error.code?.startsWith("HPE_")) return notOurs(control, "it does not speak HTTP", error);
      return failure(`cannot ask the daemon behind ${control}: ${error.message}`, error);
  }
}

function faultOf(control: string, status: number, value: object): string {
  const { message, details } = value as { message?: unknown; details?: unknown };
  if (typeof message !== "string") return notOurs(control, `it answered with status ${status}`).message;
  const more = Array.isArray(details) ? details.map((each) => `\n  ${each}`).join("") : "";
  return `the daemon behind ${control} answered: ${message}${more}`;
}

function isNoSocket(control: string): boolean {
  return lstatSync(control, { throwIfNoEntry: false })?.isSocket() === false;
}

function notOurs(control: string, why: string, cause?: unknown): HandoffError {
  return failure(`what listens on ${control} is no control socket of sni-handoff: ${why}`, cause);
}

function failure(message: string, cause?: unknown): HandoffError {
  return new HandoffError("ERR_CONTROL", message, cause === undefined ? undefined : { cause });
}

function isAnswer(value: object): value is Answer {
  const { ok, message, details } = value as Record<keyof Answer, unknown>;
  const areDetails =
    details === undefined || (Array.isArray(details) && details.every((each) => typeof each === "string"));
  return typeof ok === "boolean" && typeof message === "string" && areDetails;
}

/** Whether what a reader relies on is there: a daemon of another version may tell other things. */
function isStatus(value: object): value is Status {
  const status = value as Record<string, unknown>;
  const isRecord = (each: unknown) => typeof each === "object" && each !== null && !Array.isArray(each);
  const haveRecords = (list: unknown, ...keys: string[]) =>
    Array.isArray(list) &&
    list.every((each) => isRecord(each) && keys.every((key) => typeof each[key] === "object" && each[key] !== null));
  return (
    typeof status.state === "string" &&
    ["configuration", "counters", "privileges", "process", "relay", "systemd", "accessLog"].every((key) =>
      isRecord(status[key]),
    ) &&
    haveRecords(status.listeners) &&
    haveRecords(status.workers) &&
    haveRecords(status.backends, "counters", "latency", "instances") &&
    (status.backends as Status["backends"]).every(({ instances }) => haveRecords(instances)) &&
    Array.isArray((status.privileges as Status["privileges"]).capabilities)
  );
}
