/** What other programs write where this one has a relay's target, or a listener's address. Pure. */
import { isIPv4, isIPv6 } from "node:net";

const LABEL = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/i;

/** unix(7): sun_path has 108 bytes, the last one is 0. */
const MAX_PATH = 107;

export type Read = { readonly ok: true; readonly text: string } | { readonly ok: false; readonly why: string };

const wrong = (why: string): Read => ({ ok: false, why });

/** "host:port" and the like; `port` is the one that stands for none. */
export function readTarget(text: string, port?: number): Read {
  if (text.startsWith("unix:")) return readUnixPath(text.slice("unix:".length));
  const { host, port: own } = split(text);
  const number = own === undefined ? port : Number(own);
  if (number === undefined) return wrong("it has no port");
  if (!(number >= 1 && number <= 65_535)) return wrong(`${own} is no port`);
  if (isIPv6(host)) return { ok: true, text: `[${host}]:${number}` };
  if (!isHost(host)) return wrong(`${JSON.stringify(host)} is no host's name or address`);
  return { ok: true, text: `${host}:${number}` };
}

/** Where a relay connects to, or datagrams go. */
export function readUnixPath(path: string): Read {
  if (path === "" || path === "@" || path.includes("\0")) return wrong("it is no path");
  if (path.endsWith("/")) return wrong("it is a folder");
  if (Buffer.byteLength(path) > MAX_PATH) return wrong(`its path is longer than ${MAX_PATH} bytes`);
  return { ok: true, text: `unix:${path}` };
}

/** A port, or an address with a port; `every` stands for all addresses. */
export function readListenAddress(text: string, every: string): Read {
  const { host, port } = /^\d+$/.test(text) ? { host: "", port: text } : split(text);
  if (port === undefined || !/^\d{1,5}$/.test(port)) return wrong("it has no port");
  if (Number(port) > 65_535 || Number(port) === 0) return wrong(`${port} is no port`);
  if (host === "") return { ok: true, text: `${every}:${port}` };
  if (isIPv6(host)) return { ok: true, text: `[${host}]:${port}` };
  if (host === "*" || isIPv4(host)) return { ok: true, text: `${host}:${port}` };
  return wrong("names of hosts are not resolved for listeners; write its address");
}

/** "[::1]:80", "::1:80" as HAProxy has it, "host:80", "host". */
function split(text: string): { host: string; port?: string } {
  const bracketed = /^\[([^\]]*)\](?::(\d*))?$/.exec(text);
  if (bracketed !== null && isIPv6(bracketed[1]!))
    return { host: bracketed[1]!, ...(bracketed[2] !== undefined && { port: bracketed[2] }) };
  if (isIPv6(text)) return { host: text };
  const colon = text.lastIndexOf(":");
  return colon === -1 ? { host: text } : { host: text.slice(0, colon), port: text.slice(colon + 1) };
}

/** HAProxy takes what stands behind the last colon for the port, brackets or not: "fd00::5:443" is [fd00::5]:443. */
export function withBrackets(text: string): string {
  const [, host = "", port] = /^(.*):(\d+)$/.exec(text) ?? [];
  return isIPv6(host) ? `[${host}]:${port}` : text;
}

function isHost(host: string): boolean {
  if (isIPv4(host)) return true;
  const bare = host.endsWith(".") ? host.slice(0, -1) : host;
  // What ends in a number looks like an address and is none: no name, either (the URL standard, "ends in a number").
  if (bare.length > 253 || /(?:^|\.)\d*$/.test(bare)) return false;
  return bare.split(".").every((label) => LABEL.test(label));
}
