/**
 * Has the servers of an unchanged program receive what they would accept: `server.listen(443)` listens on a door's
 * sockets instead of the port.
 *
 * What is replaced is where Node binds: after its own code has read the arguments of listen(), checked them, looked the
 * host up and registered the callback, and before a cluster worker asks the primary for the port. Everything that a
 * program can see of listen() is Node's own.
 */
import cluster from "node:cluster";
import { existsSync } from "node:fs";
import { Server } from "node:net";
import { constants } from "node:os";
import { HandoffError, SystemCallError } from "../errors.js";
import { Receiver } from "../handoff/receiver.js";
import { begin } from "./begin.js";
import { formatRule, type ListenRule, ruleFor, VARIABLE } from "./listen-variable.js";
import { type ListenHandle, ServerSink } from "./server-sink.js";

type Family = 4 | 6;

/** `address` is null for no host; `port` and `family` are -1 for a path or a handle, `family` is a text for datagrams. */
type BindArguments = [
  address: string | null,
  port: number | null,
  family: Family | -1 | null,
  backlog: number,
  descriptor: number | undefined,
  ...more: unknown[],
];
type Bind = (this: ServerInternals, ...args: BindArguments) => void;

interface ServerInternals extends Server {
  _handle: ListenHandle | null;
  _listen2: Bind;
}

interface ClusterInternals {
  /** Of a worker: asks the primary for a handle, and has the server listen on it. */
  _getServer?: (server: ServerInternals, wanted: Wanted, callback: (...results: unknown[]) => void) => void;
}

interface Wanted {
  readonly address: string | null;
  readonly port: number | null;
  readonly addressType: Family | -1 | null | string;
  readonly backlog: number;
  readonly fd: number | undefined;
  readonly flags: number;
}

const hookedKey: unique symbol = Symbol.for("sni-handoff.listen") as never;

/**
 * Once for the process (or worker thread). `say` is told what is received where.
 *
 * Throws ERR_OPTION if this Node has another place where it binds than those that are known.
 */
export function hookListen(rules: readonly ListenRule[], say: (line: string) => void): void {
  const prototype = Server.prototype as ServerInternals & { [hookedKey]?: true };
  if (prototype[hookedKey] !== undefined) return;
  const bind = prototype._listen2;
  const inWorker = cluster as unknown as ClusterInternals;
  const askPrimary = inWorker._getServer;
  if (typeof bind !== "function" || (cluster.isWorker && typeof askPrimary !== "function")) {
    throw new HandoffError("ERR_OPTION", `${VARIABLE}: Node ${process.version} listens in a way that is not known`);
  }
  prototype[hookedKey] = true;
  /** Of this process: path -> what is received there. */
  const received = new Map<string, string>();

  prototype._listen2 = function (this: ServerInternals, ...args) {
    const [address, port, family, backlog, descriptor, ...more] = args;
    const rule = find(rules, { address, port, addressType: family, fd: descriptor });
    if (rule === undefined || this._handle !== null) return bind.apply(this, args);
    const own = ownAddress(rule, address, port!);
    const sink = new ServerSink(this);
    try {
      const receiver = new Receiver({ path: rule.path }, sink);
      received.set(receiver.path, formatRule(own));
      receiver.once("drained", () => received.delete(receiver.path));
      const listen = (handle: ListenHandle) => {
        this._handle = handle;
        bind.call(this, own.address, port, own.family === "IPv6" ? 6 : 4, backlog, undefined, ...more);
      };
      begin(this, receiver, sink, { address: own, listen });
      say(`${formatRule(own)} is received on ${receiver.path}`);
    } catch (error) {
      const failed = asListenError(error, own, received.get(rule.path));
      process.nextTick(() => this.emit("error", failed));
      return;
    }
    tellPrimary(address, port!, family as Family);
  };

  if (askPrimary === undefined) return;
  inWorker._getServer = (server, wanted, callback) => {
    if (find(rules, wanted) === undefined) return askPrimary.call(cluster, server, wanted, callback);
    server._listen2(wanted.address, wanted.port, wanted.addressType as Family, wanted.backlog, undefined, wanted.flags);
  };
}

function find(
  rules: readonly ListenRule[],
  { address, port, addressType, fd }: Pick<Wanted, "address" | "port" | "addressType" | "fd">,
): ListenRule | undefined {
  if ((addressType !== 4 && addressType !== 6) || port === null || port <= 0) return undefined;
  if (typeof fd === "number" && fd >= 0) return undefined;
  return ruleFor(rules, address ?? undefined, port);
}

/** What the server would be bound to: without a host that is both families, by one socket that is IPv6's. */
function ownAddress(rule: ListenRule, address: string | null, port: number) {
  const any = existsSync("/proc/net/if_inet6") ? "::" : "0.0.0.0";
  const own = address ?? rule.address ?? any;
  return { address: own, family: own.includes(":") ? "IPv6" : "IPv4", port };
}

/** As for a port: by the code of what is wrong with the path, and with the place that could not be had. */
function asListenError(
  error: unknown,
  { address, port }: { address: string; port: number },
  holder: string | undefined,
): unknown {
  if (!(error instanceof HandoffError) && !(error instanceof SystemCallError)) return error;
  const code = codeOf(error);
  const why =
    code === "EADDRINUSE" && holder !== undefined
      ? `this process receives ${holder} on it already; give each address a path of its own, or name a folder`
      : error.message;
  const message = `listen ${code}: ${formatRule({ address, port })} cannot be received: ${why}`;
  const errno = -(constants.errno[code as keyof typeof constants.errno] ?? constants.errno.EINVAL);
  return Object.assign(new Error(message, { cause: error }), { code, errno, syscall: "listen", address, port });
}

function codeOf(error: HandoffError | SystemCallError): string {
  if (error instanceof SystemCallError) return error.code;
  if (error.code === "ERR_PATH_IN_USE") return "EADDRINUSE";
  return error.cause instanceof SystemCallError ? error.cause.code : "EINVAL";
}

/** The primary's cluster emits 'listening', as for a port of its own; process managers wait for it. */
function tellPrimary(address: string | null, port: number, addressType: Family): void {
  const { worker } = cluster;
  if (worker === undefined || !process.connected) return;
  (worker as unknown as { state: string }).state = "listening";
  process.send!({ cmd: "NODE_CLUSTER", act: "listening", address, port, addressType });
}
