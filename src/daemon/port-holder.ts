/** Which process listens on a TCP port: proc(5), as far as this user may look. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** State TCP_LISTEN in /proc/net/tcp (include/net/tcp_states.h). */
const LISTEN = "0A";

/** "process 4711 (nginx)", or undefined if it cannot be seen. */
export function holderOf(port: number): string | undefined {
  const inodes = new Set([...listening("/proc/net/tcp", port), ...listening("/proc/net/tcp6", port)]);
  if (inodes.size === 0) return undefined;
  for (const pid of entries("/proc")) {
    if (!/^[0-9]+$/.test(pid)) continue;
    for (const descriptor of entries(`/proc/${pid}/fd`)) {
      const inode = /^socket:\[([0-9]+)\]$/.exec(link(`/proc/${pid}/fd/${descriptor}`))?.[1];
      if (inode !== undefined && inodes.has(inode)) return `process ${pid} (${text(`/proc/${pid}/comm`).trim()})`;
    }
  }
  return undefined;
}

/** Inodes of the sockets that listen on the port, whatever the address. */
function listening(file: string, port: number): string[] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return text(file)
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[1]?.endsWith(suffix) === true && fields[3] === LISTEN)
    .map((fields) => fields[9]!);
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function text(file: string): string {
  try {
    return readFileSync(file, "latin1");
  } catch {
    return "";
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}
