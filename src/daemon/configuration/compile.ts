/** A checked configuration to the form that the workers use. */
import { existsSync } from "node:fs";
import { compileBlocks } from "../../door/address-blocks.js";
import type { AccessLogSettings, BackendSettings, Rejection } from "../../door/settings.js";
import { formatListenAddress } from "./addresses.js";
import { builtInName } from "./built-in.js";
import type { ControlSettings, ListenerSettings } from "./configuration.js";
import { findLastOfNotTls } from "./first-bytes.js";
import { socketPath } from "./paths.js";
import { type BackendOfFile, type RelayBackendInput, type RelayConfiguration, relayBackendFolder } from "./relay.js";
import type { ConfigurationInput } from "./schema.js";
import { findGroup, findUser } from "./users.js";

/** TCP_DEFER_ACCEPT where it is not given, in milliseconds; where silence leads somewhere it is 0. */
const DEFER_ACCEPT = 1000;

export function compileListeners({
  listeners,
  silent,
}: Pick<ConfigurationInput, "listeners" | "silent">): ListenerSettings[] {
  return listeners.map((listener) => {
    const { address, protocol, backlog, v6Only, freebind, keepAlive, acceptProxyProtocol } = listener;
    const { deferAccept = silent !== undefined && protocol === "tls" ? 0 : DEFER_ACCEPT } = listener;
    const numeric = address.address === "*" ? anyAddress() : address.address;
    return {
      name: formatListenAddress(address),
      options: {
        address: numeric,
        port: address.port,
        backlog,
        ...(numeric.includes(":") && { v6Only }),
        freebind,
        deferAccept: Math.ceil(deferAccept / 1000),
        keepAlive,
      },
      balancers: (acceptProxyProtocol ?? []).map(({ text }) => text),
      door: {
        protocol,
        balancers: acceptProxyProtocol === undefined ? undefined : compileBlocks(acceptProxyProtocol),
      },
    };
  });
}

/** IPv6's unspecified address takes IPv4 too; a kernel without IPv6 (ipv6.disable=1) has no such file. */
function anyAddress(): string {
  return existsSync("/proc/self/net/if_inet6") ? "::" : "0.0.0.0";
}

export interface CompiledBackends {
  readonly backends: readonly BackendSettings[];
  /** Of those that have a name in the configuration. */
  readonly indices: ReadonlyMap<string, number>;
  /** For those whom no route takes: `default` if it is a backend, else the one that refuses them. */
  readonly lastTarget: number;
  readonly notTlsTarget: number;
}

/** To the door the relay's workers are instances like others. */
function compileRelayed(
  name: string,
  backend: RelayBackendInput,
  relay: RelayConfiguration,
  target: (name: string) => number,
): BackendSettings {
  const { hold, maxHeld, maxHeldPerClient, maxConnections, fallback } = backend;
  return {
    kind: "handoff",
    name,
    path: relayBackendFolder(relay, name),
    balance: "round-robin",
    hold,
    maxHeld,
    maxHeldPerClient,
    acknowledgeTimeout: RELAY_ACKNOWLEDGES,
    connect: "eagerly",
    maxConnections,
    fallback: fallback === undefined ? -1 : target(fallback),
    uid: -1,
    relay: [backend.relay].flat().map(({ text }) => text),
  };
}

/** As other backends' acknowledgeTimeout by default. Milliseconds. */
const RELAY_ACKNOWLEDGES = 500;

/** Backends by their indices: those of the files in their order, then the built-in ones that stand in for absent keys. */
export function compileBackends(
  input: ConfigurationInput,
  all: readonly BackendOfFile[],
  relay: RelayConfiguration,
): CompiledBackends {
  const targets = new Map(all.map(({ name }, index) => [name, index]));
  const target = (name: string) => targets.get(name)!;
  const backends = all.map(({ file, name, backend }): BackendSettings => {
    if ("reject" in backend) return { kind: "reject", name, reject: backend.reject };
    if ("relay" in backend) return compileRelayed(name, backend, relay, target);
    const { handoff, protocol, fallback, user, maxHello, ...settings } = backend;
    const common = {
      name,
      path: socketPath(file, handoff),
      fallback: fallback === undefined ? -1 : target(fallback),
      uid: user === undefined ? -1 : (findUser(user)?.uid ?? -1),
    };
    if (protocol === "handoff") return { kind: "handoff", ...settings, ...common };
    const { hold, maxHeld, maxHeldPerClient } = settings;
    return { kind: "datagram", hold, maxHeld, maxHeldPerClient, maxHello, ...common };
  });
  const builtIn = (reject: Rejection, countedAs: "no_route" | "not_tls") =>
    backends.push({ kind: "reject", name: builtInName(reject), reject, countedAs }) - 1;
  const lastOfNotTls = findLastOfNotTls(input.notTls);
  return {
    lastTarget: typeof input.default === "string" ? target(input.default) : builtIn("unrecognized_name", "no_route"),
    notTlsTarget: lastOfNotTls === undefined ? builtIn("close", "not_tls") : target(lastOfNotTls),
    backends,
    indices: targets,
  };
}

export function compileControl(control: ConfigurationInput["control"], file: string): ControlSettings | undefined {
  if (control === undefined) return undefined;
  const { path, mode, group } = typeof control === "string" ? { ...CONTROL_DEFAULTS, path: control } : control;
  return {
    path: socketPath(file, path),
    mode: Number.parseInt(mode, 8),
    gid: group === undefined ? -1 : (findGroup(group) ?? -1),
  };
}

/** Of a control socket that is given by its path alone, as the schema has them for the map. */
const CONTROL_DEFAULTS = { mode: "0660", group: undefined };

export function compileAccessLog(accessLog: ConfigurationInput["accessLog"]): AccessLogSettings {
  return typeof accessLog === "string" ? { mode: accessLog, sample: 1 } : { mode: "sample", sample: accessLog.sample };
}
