/** Targets of a relay: `192.0.2.1:8443`, `[2001:db8::1]:8443`, `app.internal:8443`, `unix:/run/app.sock`, `unix:@name`. */
import { isIPv4, isIPv6 } from "node:net";
import { dirname, resolve } from "node:path";

export const RELAY_TARGET_FORM =
  '"192.0.2.1:8443", "[2001:db8::1]:8443", "app.internal:8443" (a name is resolved) or "unix:/run/app.sock", with a port of 1 to 65535';

export type Target =
  /** Numeric, without brackets; an IPv6 zone as `%name`. */
  | { readonly kind: "address"; readonly text: string; readonly address: string; readonly port: number }
  /** To be resolved: lower case, without a dot at its end. */
  | { readonly kind: "name"; readonly text: string; readonly host: string; readonly port: number }
  /** As written, "@name" if it is abstract. */
  | { readonly kind: "unix"; readonly text: string; readonly path: string };

/** RFC 1123 §2.1, and underscores, which names in private zones have. */
const LABEL = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/;

/** Undefined if `text` is none. */
export function parseTarget(text: string): Target | undefined {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    const isPath = path !== "" && path !== "@" && !path.endsWith("/") && !path.includes("\0");
    return isPath ? { kind: "unix", text, path } : undefined;
  }
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  if (match === null) return undefined;
  const [, bracketed, plain = "", digits] = match;
  const port = Number(digits);
  if (port < 1 || port > 65535) return undefined;
  if (bracketed !== undefined)
    return isIPv6(bracketed) ? { kind: "address", text, address: bracketed, port } : undefined;
  if (isIPv4(plain)) return { kind: "address", text, address: plain, port };
  const host = plain.toLowerCase().replace(/\.$/, "");
  const labels = host.split(".");
  // What ends in a number is meant as an IPv4 address, and is none (the URL standard, "ends in a number").
  const isName = host.length <= 253 && labels.every((label) => LABEL.test(label)) && !/^\d+$/.test(labels.at(-1)!);
  return isName ? { kind: "name", text, host, port } : undefined;
}

/** A unix target's path made absolute, from the folder of the file that it stands in. */
export function targetPath(configurationFile: string, path: string): string {
  return path.startsWith("@") ? path : resolve(dirname(configurationFile), path);
}
