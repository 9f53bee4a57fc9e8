/**
 * The listening TCP sockets: those of the configuration, some of which may have come from systemd or from the process
 * before. They are bound before anything else, so that what is in use is known at once, and they change with a reload
 * without touching those that stay.
 */
import { HandoffError, type SystemCallError } from "../errors.js";
import { native, type TcpAddress } from "../native/addon.js";
import type { ListenerSettings } from "./configuration/index.js";
import { holderOf } from "./port-holder.js";
import { isBoundTo, isMadeFor } from "./systemd/bound-to.js";

export type ListenerSource = "configuration" | "systemd" | "inherited";

export interface Listener {
  /** The address as configured: "*:443". */
  readonly name: string;
  /** The address as bound, the port chosen by the kernel included. */
  readonly address: string;
  readonly descriptor: number;
  readonly source: ListenerSource;
}

/** A listening socket that this process was given. */
export interface PassedListener {
  readonly descriptor: number;
  readonly source: ListenerSource;
  /** The address as the process before had it configured; undefined: it is known by where it is bound. */
  readonly name?: string | undefined;
}

/** A change that is prepared and not yet in force. */
export interface ListenersChange {
  readonly next: readonly Listener[];
  readonly added: readonly Listener[];
  readonly removed: readonly Listener[];
  /** The workers use `next`: those removed are closed, but for the service manager's. */
  commit(): void;
  /** Nothing has changed: those added are closed. */
  abandon(): void;
}

export class Listeners {
  private list: readonly Listener[] = [];
  /** The service manager's sockets that the configuration has no use for (now): without them an address could not be had again. */
  private spare: PassedListener[];
  private readonly hasGivenUpBinding: boolean;

  /** `hasGivenUpBinding`: this process may bind no ports that need privilege, and perhaps none at all (privileges/). */
  constructor(passed: readonly PassedListener[] = [], hasGivenUpBinding = false) {
    this.spare = [...passed];
    this.hasGivenUpBinding = hasGivenUpBinding;
    // A manager's may block, and what accepts from it is told to take all there are.
    for (const { descriptor } of passed) native.setNonBlocking(descriptor, true);
  }

  get all(): readonly Listener[] {
    return this.list;
  }

  get descriptors(): readonly number[] {
    return this.list.map(({ descriptor }) => descriptor);
  }

  /** As bound. */
  get addresses(): readonly string[] {
    return this.list.map(({ address }) => address);
  }

  /** Passed sockets that nothing is configured for (now). */
  get unused(): readonly PassedListener[] {
    return this.spare;
  }

  /** What to say of these once the door runs: a socket that the service manager has is not closed here. */
  get unserved(): readonly string[] {
    return this.spare.map(
      ({ descriptor }) =>
        `nobody accepts on ${formatAddress(native.localAddress(descriptor))}, which the service manager has: its clients wait in vain; take it out of the .socket unit and restart that, or add it to "listeners"`,
    );
  }

  /**
   * Binds what `settings` have and is not there yet. Throws a HandoffError (ERR_LISTEN) that says which address cannot
   * be had and what to do; then nothing has changed.
   */
  prepare(settings: readonly ListenerSettings[]): ListenersChange {
    const kept = new Set<Listener>();
    const added: Listener[] = [];
    const bound: Listener[] = [];
    const spare = [...this.spare];
    try {
      const next = settings.map((wanted) => {
        const same = this.find(wanted, kept);
        if (same !== undefined) {
          kept.add(same);
          return same.name === wanted.name ? same : { ...same, name: wanted.name };
        }
        const passed = takePassed(spare, wanted);
        const listener = passed ?? this.listen(wanted);
        added.push(listener);
        if (passed === undefined) bound.push(listener);
        return listener;
      });
      const removed = this.list.filter((each) => !kept.has(each));
      return {
        next,
        added,
        removed,
        commit: () => {
          this.list = next;
          const needless = [...spare, ...removed];
          this.spare = needless.flatMap(({ descriptor, source }) =>
            source === "systemd" ? [{ descriptor, source }] : [],
          );
          // Nobody accepts there: whoever connects is to be told so.
          for (const { descriptor, source } of needless) if (source !== "systemd") native.close(descriptor);
          for (const [index, listener] of next.entries()) {
            // What a unit made, a unit configures.
            if (bound.includes(listener) || listener.source === "systemd") continue;
            native.adjustListener(listener.descriptor, settings[index]!.options);
          }
        },
        abandon: () => closeAll(bound),
      };
    } catch (error) {
      closeAll(bound);
      throw error;
    }
  }

  private listen({ name, options }: ListenerSettings): Listener {
    try {
      const descriptor = native.listenTcp(options);
      const address = formatAddress(native.localAddress(descriptor));
      return { name, address, descriptor, source: "configuration" };
    } catch (error) {
      const { code, message } = error as SystemCallError;
      const what = `cannot listen on ${name}: ${message}`;
      const own = code === "EADDRINUSE" ? this.ownBeside(options) : undefined;
      const remedy =
        own === undefined
          ? advice(code, options, this.hasGivenUpBinding)
          : `; the door itself listens on ${own}, which is a part of that or has it as a part: restart it for this change`;
      throw new HandoffError("ERR_LISTEN", `${what}${remedy}`, { cause: error });
    }
  }

  /** What is there already, or was passed, and keeps another address from being had. */
  private ownBeside({ address, port }: ListenerSettings["options"]): string | undefined {
    const own = [...this.list, ...this.spare].map(({ descriptor }) => native.localAddress(descriptor));
    const found = own.find((each) => each.port === port && (isEvery(each.address) || isEvery(address)));
    return found && formatAddress(found);
  }

  /** The one that has this address: as configured, or else as bound. */
  private find(wanted: ListenerSettings, taken: ReadonlySet<Listener>): Listener | undefined {
    const free = this.list.filter((each) => !taken.has(each));
    return free.find(({ name }) => name === wanted.name) ?? free.find((each) => serves(each, wanted));
  }

  /** New clients are turned away from now on, but for those of sockets that others have too; what remains can be accepted. */
  refuseNewClients(): void {
    for (const { descriptor, source } of this.list) {
      if (source !== "systemd") refuseNewClients(descriptor);
    }
  }

  close(): void {
    for (const { descriptor } of [...this.list, ...this.spare]) native.close(descriptor);
    this.list = [];
    this.spare = [];
  }
}

/** Newer kernels want CAP_NET_ADMIN for a filter on a TCP socket: without it the last clients are accepted, or reset. */
function refuseNewClients(descriptor: number): void {
  try {
    native.refuseNewClients(descriptor);
  } catch (error) {
    if ((error as SystemCallError).code !== "EPERM") throw error;
  }
}

function closeAll(listeners: readonly Listener[]): void {
  for (const { descriptor } of listeners) native.close(descriptor);
}

/** Whether its clients are those of the listener, however that is written. */
function serves({ descriptor, source }: PassedListener, wanted: ListenerSettings): boolean {
  return source === "systemd" ? isBoundTo(descriptor, wanted) : isMadeFor(descriptor, wanted);
}

function takePassed(spare: PassedListener[], wanted: ListenerSettings): Listener | undefined {
  const named = spare.findIndex(({ name }) => name === wanted.name);
  const index = named >= 0 ? named : spare.findIndex((each) => serves(each, wanted));
  if (index < 0) return undefined;
  const [{ descriptor, source }] = spare.splice(index, 1) as [PassedListener];
  return { name: wanted.name, address: formatAddress(native.localAddress(descriptor)), descriptor, source };
}

function isEvery(address: string): boolean {
  return address === "0.0.0.0" || address === "::";
}

function advice(code: string, options: ListenerSettings["options"], hasGivenUpBinding: boolean): string {
  switch (code) {
    case "EADDRINUSE": {
      const holder = holderOf(options.port);
      return `; ${holder === undefined ? "another process" : holder} listens there: stop it, or choose another address`;
    }
    case "EADDRNOTAVAIL":
      return "; no interface of this host has that address; `freebind: true` binds it all the same";
    case "EACCES":
      if (hasGivenUpBinding) {
        return "; the door has given up binding ports: restart it for this listener, or once with privileges.keepBindService: true for reloads to add listeners";
      }
      return "; ports below 1024 need privilege: run as root (with `user:` it is dropped again), grant CAP_NET_BIND_SERVICE (AmbientCapabilities= in a systemd unit, or its socket unit), or lower net.ipv4.ip_unprivileged_port_start";
    default:
      return "";
  }
}

export function formatAddress({ family, address, port }: TcpAddress): string {
  return family === "IPv6" ? `[${address}]:${port}` : `${address}:${port}`;
}
