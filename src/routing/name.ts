/**
 * Host names as an operator writes them -> the form in which they are compared with what clients send:
 * lower case, no trailing dot. Pure.
 *
 * The characters are those that the ClientHello parser lets through, so that every name that can arrive can be
 * configured and the reverse: letters, digits, '-', '_' and '.'. (Four numbers with dots are the exception: a client may
 * send 256.1.1.1 as a name; whoever configures it means an address.) Besides exact names there is one kind of pattern,
 * "*." in front of a name.
 */

import { domainToASCII } from "node:url";

/** Longest name, in bytes, that is routed or configured. (RFC 1035 §2.3.4 lets DNS carry 253.) */
export const MAX_NAME_LENGTH = 255;

/** RFC 1035 §2.3.4. No resolver returns a longer one, so no client can ask for it. */
export const MAX_LABEL_LENGTH = 63;

/** Why something is not a usable name. */
export type NameFault =
  | "empty"
  | "too_long"
  | "label_too_long"
  | "empty_label"
  | "leading_dot"
  | "wildcard_everything"
  | "wildcard_place"
  | "address"
  | "not_ascii"
  | "character";

const DOT = 0x2e;
const STAR = 0x2a;

/** For each byte its normal form, or 0 where a name may not contain it. */
const NORMAL_FORM = new Uint8Array(256);
for (const character of "abcdefghijklmnopqrstuvwxyz0123456789-_.") {
  NORMAL_FORM[character.charCodeAt(0)] = character.charCodeAt(0);
  NORMAL_FORM[character.toUpperCase().charCodeAt(0)] = character.charCodeAt(0);
}

/**
 * Normalises bytes [start, end) into `out` (at least MAX_NAME_LENGTH bytes) without allocating.
 * Returns the length written, or why the bytes are no name.
 */
export function normaliseNameBytes(bytes: Uint8Array, start: number, end: number, out: Uint8Array): number | NameFault {
  if (end > start && bytes[end - 1] === DOT) end--;
  const length = end - start;
  if (length <= 0) return "empty";
  if (length > MAX_NAME_LENGTH) return "too_long";
  if (bytes[start] === DOT) return "leading_dot";

  let at = start;
  if (bytes[start] === STAR) {
    if (length === 1) return "wildcard_everything";
    if (bytes[start + 1] !== DOT) return "wildcard_place";
    out[0] = STAR;
    out[1] = DOT;
    at = start + 2;
  }

  let labelStart = at;
  let dots = 0;
  let numeric = true;
  for (; at < end; at++) {
    const byte = NORMAL_FORM[bytes[at]];
    if (byte === 0) {
      if (bytes[at] === STAR) return "wildcard_place";
      return bytes[at] >= 0x80 ? "not_ascii" : "character";
    }
    if (byte === DOT) {
      if (at === labelStart) return "empty_label";
      if (at - labelStart > MAX_LABEL_LENGTH) return "label_too_long";
      labelStart = at + 1;
      dots++;
    } else if (byte < 0x30 || byte > 0x39) {
      numeric = false;
    }
    out[at - start] = byte;
  }
  if (at === labelStart) return "empty_label";
  if (at - labelStart > MAX_LABEL_LENGTH) return "label_too_long";
  if (numeric && dots === 3 && out[0] !== STAR) return "address";
  return length;
}

export type NormalisedName =
  | { readonly ok: true; readonly name: string }
  | { readonly ok: false; readonly fault: NameFault; readonly message: string };

const scratch = new Uint8Array(MAX_NAME_LENGTH);
const encoder = new TextEncoder();

/** "App.Example.com." -> "app.example.com". A name that cannot be used comes with a message for its author. */
export function normaliseName(text: string): NormalisedName {
  const bytes = encoder.encode(text);
  const result = normaliseNameBytes(bytes, 0, bytes.length, scratch);
  if (typeof result !== "number") return { ok: false, fault: result, message: nameFaultMessage(result, text) };
  return { ok: true, name: String.fromCharCode(...scratch.subarray(0, result)) };
}

/** What is wrong with `text`, and what to write instead. */
export function nameFaultMessage(fault: NameFault, text: string): string {
  const found = quote(text);
  switch (fault) {
    case "empty":
      return `found ${found}, which is no name: write a host name ("app.example.com") or a wildcard ("*.example.com")`;
    case "too_long":
      return `found a name of ${encoder.encode(text).length} bytes (${found}): at most ${MAX_NAME_LENGTH} are allowed`;
    case "label_too_long":
      return `${found} has a label of more than ${MAX_LABEL_LENGTH} bytes between its dots, which DNS cannot carry`;
    case "empty_label":
      return `${found} has nothing between two dots: one dot between labels, at most one at the end`;
    case "leading_dot": {
      const bare = text.replace(/^\.+/, "");
      return `${found} begins with a dot: write ${quote(bare)} for the name itself, ${quote(`*.${bare}`)} for all names below it, or both`;
    }
    case "wildcard_everything":
      return `${found} is every name: set "default:" to the backend for names that have no route`;
    case "wildcard_place":
      return `${found} has a "*" that is not the whole first label: a wildcard is "*." and a name, such as "*.example.com", and matches every name below it`;
    case "address":
      return `${found} is an IP address: clients that connect to an address send no server name (RFC 6066 §3); use "noServerName:"`;
    case "not_ascii":
      return notAsciiMessage(text, found);
    case "character":
      return characterMessage(text, found);
  }
}

/** The character that cannot be in a name, as an editor shows it and as a code point. */
function describeCharacter(text: string, disallowed: RegExp): string {
  const character = disallowed.exec(text)?.[0] ?? "";
  const code = (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0");
  return `${quote(character)} (U+${code})`;
}

function notAsciiMessage(text: string, found: string): string {
  const wildcard = text.startsWith("*.");
  const ascii = domainToASCII(wildcard ? text.slice(2) : text);
  const suggestion = normaliseSuggestion(wildcard ? `*.${ascii}` : ascii);
  const holds = `${found} holds ${describeCharacter(text, /[^\0-\x7f]/u)}, but clients send international names as A-labels`;
  return suggestion === undefined
    ? `${holds}, and this is no valid international name`
    : `${holds}: write ${quote(suggestion)}`;
}

function characterMessage(text: string, found: string): string {
  const holds = `${found} holds ${describeCharacter(text, /[^A-Za-z0-9._*-]/u)}`;
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return `${holds}: write the host name only, not a URL`;
  if (/^[^:]+:[0-9]+$/.test(text)) return `${holds}: write the host name without the port`;
  if (/^\[?[0-9a-f]*:[0-9a-f:.]*\]?$/i.test(text)) return nameFaultMessage("address", text);
  return `${holds}: allowed are letters, digits, "-", "_" and "."`;
}

function normaliseSuggestion(text: string): string | undefined {
  const bytes = encoder.encode(text);
  const out = new Uint8Array(MAX_NAME_LENGTH);
  const result = normaliseNameBytes(bytes, 0, bytes.length, out);
  return typeof result === "number" ? String.fromCharCode(...out.subarray(0, result)) : undefined;
}

function shorten(text: string): string {
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** `text` in double quotes, control characters escaped, at most about 80 characters. */
export function quote(text: string): string {
  return JSON.stringify(shorten(text));
}
