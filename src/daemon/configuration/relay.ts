/** What a configuration says of the relay: for its own process, and for the door, whose backends lead to it. */
import { createHash } from "node:crypto";
import { basename, dirname, resolve } from "node:path";
import type { Problem } from "../../errors.js";
import type { ProxyProtocol, RelayBalance, RelayFallback } from "../../relay/settings.js";
import { compileControl } from "./compile.js";
import { defaultWorkers } from "./default-workers.js";
import { MAX_SOCKET_PATH, socketPath } from "./paths.js";
import type { ConfigurationInput, IncludedInput } from "./schema.js";
import { problemAt, type Source } from "./source.js";
import { type Target, targetPath } from "./targets.js";
import { findUser } from "./users.js";

export interface RelayConfiguration {
  /** Absolute, ending in "/". */
  readonly folder: string;
  readonly workers: number;
  /** A second path of the relay's control socket, beside `relayControl`; undefined: there is none. */
  readonly control: string | undefined;
  /** Whether the door starts one. */
  readonly start: boolean;
  /** Milliseconds. */
  readonly drain: number;
  /** Undefined: as the system resolves names. */
  readonly resolvers: readonly { readonly address: string; readonly port: number }[] | undefined;
  readonly backends: readonly RelayBackendConfiguration[];
}

/** As RelayBackendSettings has it, but for the targets, which may have to be resolved. Durations in milliseconds. */
export interface RelayBackendConfiguration {
  readonly name: string;
  readonly targets: readonly Target[];
  readonly proxyProtocol: ProxyProtocol;
  readonly balance: RelayBalance;
  readonly connectTimeout: number;
  readonly hold: number;
  readonly idleTimeout: number;
  readonly lifetime: number;
  readonly keepAlive: boolean;
  readonly fallback: RelayFallback;
}

/** The keys of a configuration that the relay's process reads. */
export type RelayInput = Pick<ConfigurationInput, "workers" | "control" | "relay">;
export type BackendInput = IncludedInput["backends"][string];
export type RelayBackendInput = Extract<BackendInput, { relay: unknown }>;

/** One backend and the file that it stands in. */
export interface BackendOfFile {
  readonly file: string;
  readonly name: string;
  readonly backend: BackendInput;
}

/** `file` is the configuration file; `all` are the backends of all files. */
export function compileRelay(input: RelayInput, file: string, all: readonly BackendOfFile[]): RelayConfiguration {
  const { relay } = input;
  const folder = relayFolder(input, file);
  const relayed = all.filter(isRelayed);
  return {
    folder,
    workers: relay.workers ?? input.workers ?? defaultWorkers,
    control: relay.control === undefined ? undefined : socketPath(file, relay.control),
    start: relay.start,
    drain: relay.drain,
    resolvers: relay.resolvers,
    backends: relayed.map(({ file: own, name, backend }) => {
      const { relay: to, fallback, proxyProtocol, balance, connectTimeout, hold } = backend;
      const { idleTimeout, lifetime, keepAlive } = backend;
      return {
        name,
        targets: [to].flat().map((target) => absolute(own, target)),
        ...{ proxyProtocol, balance, connectTimeout, hold, idleTimeout, lifetime, keepAlive },
        fallback: compileFallback(fallback, all, relayed),
      };
    }),
  };
}

/** The control socket by which a relay is found, whoever started it. No backend's name begins with a dot. */
export function relayControl({ folder }: { readonly folder: string }): string {
  return `${folder}.control.sock`;
}

/** Where the relay's workers are instances of a backend. */
export function relayBackendFolder({ folder }: { readonly folder: string }, backend: string): string {
  return `${folder}${backend}/`;
}

/** What a process calls its socket in a folder: process id, eight digits and ".sock" (handoff/path.ts). */
const SOCKET_NAME_LENGTH = 21;

/** The sockets' paths in its folder must be such as unix(7) has room for. */
export function relayPathProblems(relay: RelayConfiguration, main: Source): Problem[] {
  return relay.backends.flatMap(({ name }) => {
    const folder = relayBackendFolder(relay, name);
    const length = Buffer.byteLength(folder) + SOCKET_NAME_LENGTH;
    if (length <= MAX_SOCKET_PATH) return [];
    const message = `has sockets in ${folder}, whose paths have ${length} bytes; allowed: ${MAX_SOCKET_PATH} bytes (unix(7)); choose a shorter relay.folder`;
    return [problemAt({ source: main, path: ["relay", "folder"] }, `${name} ${message}`)];
  });
}

function isRelayed(each: BackendOfFile): each is BackendOfFile & { readonly backend: RelayBackendInput } {
  return "relay" in each.backend;
}

function absolute(file: string, target: Target): Target {
  return target.kind === "unix" ? { ...target, path: targetPath(file, target.path) } : target;
}

function compileFallback(
  name: string | undefined,
  all: readonly BackendOfFile[],
  relayed: readonly BackendOfFile[],
): RelayFallback {
  const found = name === undefined ? undefined : all.find((each) => each.name === name);
  if (found === undefined) return { kind: "reject", reject: "internal_error" };
  const { backend, file } = found;
  if ("reject" in backend) return { kind: "reject", reject: backend.reject };
  if ("relay" in backend) return { kind: "relay", backend: relayed.indexOf(found) };
  const { handoff, protocol, user, acknowledgeTimeout, hold } = backend;
  // The relay sends none.
  if (protocol === "datagram") return { kind: "reject", reject: "internal_error" };
  const uid = user === undefined ? -1 : (findUser(user)?.uid ?? -1);
  return {
    kind: "handoff",
    backend: found.name,
    path: socketPath(file, handoff),
    ...{ uid, acknowledgeTimeout, hold },
    fallback: compileFallback(backend.fallback, all, relayed),
  };
}

/**
 * Two doors must not share a folder, or one's clients go to the other's targets: by default it is named after what is a
 * door's own, the control socket or else the configuration file. Not by who this process is, which changes with `user`.
 */
function relayFolder({ relay, control }: RelayInput, file: string): string {
  if (relay.folder !== undefined) return socketPath(file, relay.folder.replace(/\/*$/, "/"));
  const path = compileControl(control, file)?.path;
  if (path !== undefined && !path.startsWith("@")) {
    return `${dirname(path)}/${basename(path).replace(/\.sock(et)?$/, "")}.relay/`;
  }
  const base = process.env.XDG_RUNTIME_DIR?.startsWith("/") ? process.env.XDG_RUNTIME_DIR : "/run";
  const digest = createHash("sha256").update(resolve(file)).digest("hex");
  return `${base}/sni-handoff/relay-${digest.slice(0, 12)}/`;
}
