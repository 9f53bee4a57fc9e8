/** A configuration to the form that the relay's workers use. */
import type { RelayBackendSettings, RelaySettings, TargetAddress } from "../../relay/settings.js";
import type { RelayConfiguration } from "../configuration/relay.js";
import { relayBackendFolder } from "../configuration/relay.js";
import type { Target } from "../configuration/targets.js";
import type { TargetNames } from "./names.js";

/** Permission bits of the sockets: the door is root, or in their group. */
const SOCKET_MODE = 0o660;

export function relaySettings(relay: RelayConfiguration, generation: number, names: TargetNames): RelaySettings {
  return {
    generation,
    sockets: { mode: SOCKET_MODE, gid: -1, uid: -1, allowedUsers: undefined },
    backends: relay.backends.map(
      ({ targets, ...backend }): RelayBackendSettings => ({
        ...backend,
        folder: relayBackendFolder(relay, backend.name),
        targets: targets.map((target) => ({ name: target.text, addresses: addressesOf(target, names) })),
      }),
    ),
  };
}

function addressesOf(target: Target, names: TargetNames): TargetAddress[] {
  switch (target.kind) {
    case "unix":
      return [{ path: target.path }];
    case "address":
      return [{ address: target.address, port: target.port }];
    case "name":
      return (names.known(target.host)?.addresses ?? []).map((address) => ({ address, port: target.port }));
  }
}

/** The names among the targets. */
export function hostsOf({ backends }: RelayConfiguration): Set<string> {
  return new Set(
    backends.flatMap(({ targets }) => targets.flatMap((each) => (each.kind === "name" ? [each.host] : []))),
  );
}

/** Where a name is a target: backend, target, and its port. */
export function usesOf({ backends }: RelayConfiguration, host: string) {
  return backends.flatMap(({ name, targets }) =>
    targets.flatMap((each) =>
      each.kind === "name" && each.host === host ? [{ backend: name, target: each.text, port: each.port }] : [],
    ),
  );
}
