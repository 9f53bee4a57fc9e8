/** A checked configuration to the form that the workers use. */
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import type { BackendSettings, Rejection } from "../../door/settings.js";
import { formatListenAddress } from "./addresses.js";
import type { ListenerSettings } from "./configuration.js";
import { socketPath } from "./paths.js";
import type { ConfigurationInput } from "./schema.js";
import { findUid } from "./users.js";

/** Workers spend their time in system calls; the other half of the processors is for the backends behind them. */
export const defaultWorkers = Math.max(1, Math.min(4, Math.floor(availableParallelism() / 2)));

export function compileListeners(listeners: ConfigurationInput["listeners"]): ListenerSettings[] {
  return listeners.map(({ address, backlog, v6Only, freebind, deferAccept, keepAlive }) => {
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
    };
  });
}

/** IPv6's unspecified address takes IPv4 too; a kernel without IPv6 (ipv6.disable=1) has no such file. */
function anyAddress(): string {
  return existsSync("/proc/net/if_inet6") ? "::" : "0.0.0.0";
}

export interface CompiledBackends {
  readonly backends: readonly BackendSettings[];
  readonly defaultTarget: number;
  readonly noServerNameTarget: number;
  readonly notTlsTarget: number;
}

/** Backends by their indices: those of the file in its order, then the built-in ones that stand in for absent keys. */
export function compileBackends(input: ConfigurationInput, file: string): CompiledBackends {
  const names = Object.keys(input.backends);
  const target = (name: string) => names.indexOf(name);
  const backends = Object.entries(input.backends).map(([name, backend]): BackendSettings => {
    if ("reject" in backend) return { kind: "reject", name, reject: backend.reject };
    const { handoff, fallback, user, ...settings } = backend;
    return {
      kind: "handoff",
      name,
      path: socketPath(file, handoff),
      ...settings,
      connect: "eagerly",
      maxConnections: 0,
      fallback: fallback === undefined ? -1 : target(fallback),
      uid: user === undefined ? -1 : typeof user === "number" ? user : (findUid(user) ?? -1),
    };
  });
  // A configured backend's name has no colon.
  const builtIn = (reject: Rejection, countedAs: "no_route" | "not_tls") =>
    backends.push({ kind: "reject", name: `built-in:${reject}`, reject, countedAs }) - 1;
  const or = (name: string | undefined, otherwise: () => number) => (name === undefined ? otherwise() : target(name));
  const defaultTarget = or(input.default, () => builtIn("unrecognized_name", "no_route"));
  return {
    defaultTarget,
    noServerNameTarget: or(input.noServerName, () => defaultTarget),
    notTlsTarget: or(input.notTls, () => builtIn("close", "not_tls")),
    backends,
  };
}
