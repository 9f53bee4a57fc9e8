/**
 * SNI_HANDOFF: which of a program's own addresses are received from a door. Pure.
 *
 *     [ADDRESS:]PORT=PATH[,[ADDRESS:]PORT=PATH…]
 */
import { isIPv4, isIPv6 } from "node:net";
import { ADDRESS_BYTES, readAddress, writeAddress } from "../addresses.js";
import { HandoffError } from "../errors.js";

export const VARIABLE = "SNI_HANDOFF";

const FORM = "[ADDRESS:]PORT=PATH, as 443=/run/app/door.sock, 127.0.0.1:8443=/run/app/door.sock or [::]:443=/run/app/";
/** So no path can have one. */
const SEPARATOR = ",";

export interface ListenRule {
  /** As Node writes it; undefined: any. */
  readonly address: string | undefined;
  readonly port: number;
  /** Absolute; a folder's if it ends in "/". */
  readonly path: string;
}

/** Throws a HandoffError, ERR_OPTION, that says which entry is wrong and why. Nothing at all is no rule. */
export function parseListenVariable(text: string | undefined): ListenRule[] {
  if (text === undefined || text.trim() === "") return [];
  const rules: ListenRule[] = [];
  for (const written of text.split(SEPARATOR)) {
    const entry = written.trim();
    const rule = parseEntry(entry);
    const twin = rules.find((other) => other.port === rule.port && other.address === rule.address);
    if (twin !== undefined) throw wrong(entry, `${formatRule(rule)} is there twice`);
    rules.push(rule);
  }
  return rules;
}

function parseEntry(entry: string): ListenRule {
  const at = entry.indexOf("=");
  if (entry === "" || at < 0) throw wrong(entry, entry === "" ? "it is empty" : 'it has no "="');
  const where = entry.slice(0, at);
  const path = entry.slice(at + 1);
  if (!path.startsWith("/")) throw wrong(entry, `the path "${path}" is not absolute`);
  if (path.includes("\0")) throw wrong(entry, "the path has a NUL byte");
  const [, address, port] = /^(?:(.*):)?([^:]*)$/s.exec(where)!;
  if (!/^[0-9]{1,5}$/.test(port!) || Number(port) < 1 || Number(port) > 65_535) {
    throw wrong(entry, `"${port}" is no port; a number from 1 to 65535 is needed`);
  }
  return { address: address === undefined ? undefined : parseAddress(address, entry), port: Number(port), path };
}

function parseAddress(text: string, entry: string): string {
  const inner = /^\[(.*)\]$/.exec(text)?.[1];
  if (inner === undefined && isIPv4(text)) return text;
  if (inner !== undefined && isIPv6(inner)) return canonicalAddress(inner);
  const hint = isIPv6(text) ? `; an IPv6 address is written [${text}]` : "; names are not looked up";
  throw wrong(entry, `"${text}" is no address${hint}`);
}

/** One text for each address; a zone stays. */
export function canonicalAddress(text: string): string {
  if (!isIPv6(text)) return text;
  const bytes = new Uint8Array(ADDRESS_BYTES);
  writeAddress({ family: "IPv6", address: text, port: 0 }, bytes, 0);
  const zone = text.indexOf("%");
  return readAddress(bytes, 0)!.address + (zone < 0 ? "" : text.slice(zone));
}

/**
 * The rule for what a program listens on: that of its address, else that of the port alone. `address` is undefined if
 * the program names none: then it listens on both wildcards, and a rule for either is meant.
 */
export function ruleFor(
  rules: readonly ListenRule[],
  address: string | undefined,
  port: number,
): ListenRule | undefined {
  const meant = address === undefined ? ["::", "0.0.0.0"] : [canonicalAddress(address)];
  const ofPort = rules.filter((rule) => rule.port === port);
  return (
    ofPort.find((rule) => rule.address !== undefined && meant.includes(rule.address)) ??
    ofPort.find((rule) => rule.address === undefined)
  );
}

/** As in the variable, without the path. */
export function formatRule({ address, port }: Pick<ListenRule, "address" | "port">): string {
  if (address === undefined) return String(port);
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

function wrong(entry: string, why: string): HandoffError {
  return new HandoffError("ERR_OPTION", `${VARIABLE}: the entry "${entry}" is wrong: ${why}. Needed: ${FORM}`);
}
