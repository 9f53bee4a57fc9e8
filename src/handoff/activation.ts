/**
 * Sockets passed by a service manager: sd_listen_fds(3). The descriptors begin at 3; Node has set FD_CLOEXEC on them
 * at its start, as on every descriptor that it inherits.
 */
import { resolve } from "node:path";
import { HandoffError } from "../errors.js";
import { native } from "../native/addon.js";

const SD_LISTEN_FDS_START = 3;

export interface PassedDescriptor {
  readonly descriptor: number;
  /** FileDescriptorName= of the unit; "unknown" if the manager named none. */
  readonly name: string;
}

/** The descriptors that the environment says were passed to process `pid`. Pure. */
export function passedDescriptors(environment: NodeJS.ProcessEnv, pid: number): PassedDescriptor[] {
  if (environment.LISTEN_PID !== String(pid)) return [];
  const count = /^[0-9]{1,4}$/.test(environment.LISTEN_FDS ?? "") ? Number(environment.LISTEN_FDS) : 0;
  const names = (environment.LISTEN_FDNAMES ?? "").split(":");
  return Array.from({ length: count }, (_, i) => ({
    descriptor: SD_LISTEN_FDS_START + i,
    name: names[i] || "unknown",
  }));
}

/** An environment for another process, which gets other descriptors than this one. */
export function withoutPassedDescriptors(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES, ...rest } = environment;
  return rest;
}

const NEEDED = {
  seqpacket: "a listening SEQPACKET socket is needed: ListenSequentialPacket=",
  dgram: "a datagram socket is needed: ListenDatagram=",
} as const;

/** Those that this process already listens on. */
const taken = new Set<number>();

/**
 * The passed socket that is named `name`, or without a name the one that is bound to `path`; undefined if there is
 * none. The caller owns the descriptor and closes it; the path is the service manager's and stays.
 *
 * Throws ERR_PATH_UNUSABLE if it is there and is not a listening SEQPACKET socket (or a datagram socket, where that is
 * wanted), or if sockets were passed and none has the name.
 */
export function takePassedSocket(
  wanted: { path?: string | undefined; name?: string | undefined; type?: "seqpacket" | "dgram" },
  passed: readonly PassedDescriptor[] = passedDescriptors(process.env, process.pid),
): { descriptor: number; path: string } | undefined {
  const type = wanted.type ?? "seqpacket";
  for (const { descriptor, name } of passed) {
    if (taken.has(descriptor) || (wanted.name !== undefined && wanted.name !== name)) continue;
    const socket = native.unixSocket(descriptor);
    if (wanted.name === undefined && (socket === undefined || !isSamePath(socket.path, wanted.path))) continue;
    if (socket?.type !== type || (type === "seqpacket" && !socket.listening)) {
      const found =
        socket === undefined ? "no unix socket" : `a ${socket.listening ? "listening " : ""}${socket.type} socket`;
      throw new HandoffError(
        "ERR_PATH_UNUSABLE",
        `the passed descriptor ${descriptor} (${name}) is ${found}; ${NEEDED[type]} in the .socket unit`,
      );
    }
    taken.add(descriptor);
    return { descriptor, path: socket.path };
  }
  if (wanted.name !== undefined && passed.length > 0) {
    const names = passed.map(({ name }) => name).join(", ");
    throw new HandoffError(
      "ERR_PATH_UNUSABLE",
      `no free passed descriptor is named "${wanted.name}"; the service manager passed: ${names} (FileDescriptorName= in the .socket unit)`,
    );
  }
  return undefined;
}

function isSamePath(a: string, b: string | undefined): boolean {
  if (b === undefined || a === "") return false;
  return a.startsWith("@") || b.startsWith("@") ? a === b : resolve(a) === resolve(b);
}
