/**
 * The kinds of values that a configuration is made of. Each is a zod schema that turns what an operator writes into
 * what the program uses, says what was found and what is allowed, and carries its documentation into the JSON Schema.
 */
import { z } from "zod";
import { MAX_PATTERN_LENGTH, patternFault } from "../../routing/patterns.js";
import { BLOCK_FORM, parseBlock } from "./address-block.js";
import { ADDRESS_FORM, isLoopback, LOOPBACK_FORM, parseListenAddress } from "./addresses.js";
import { DURATION_FORM, DURATION_PATTERN, formatDuration, parseDuration } from "./durations.js";
import { BEGINNING_FORM, parseBeginning } from "./first-bytes.js";
import { suggestion } from "./nearest.js";
import { formatSize, parseSize, SIZE_FORM, SIZE_PATTERN } from "./sizes.js";
import { parseTarget, RELAY_TARGET_FORM } from "./targets.js";
import { HIGHEST_ID } from "./users.js";

/** A value as it can be shown in one line. */
export function show(value: unknown): string {
  if (value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (value instanceof Uint8Array) return "binary data";
  if (typeof value === "object") return "a map";
  if (typeof value !== "string") return String(value);
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 76)}…"` : text;
}

/** The message for a value that cannot be used. */
export function found(value: unknown, allowed: string, hint = ""): string {
  if (value === undefined) return `is missing; allowed: ${allowed}`;
  return `found ${show(value)}${hint}; allowed: ${allowed}`;
}

const wants = (allowed: string) => ({ error: (issue: { input?: unknown }) => found(issue.input, allowed) });

export const text = (allowed: string) => z.string(wants(allowed)).min(1, wants(allowed));

export const flag = () => z.boolean(wants("true or false"));

export function count(what: string, { min, max }: { min: number; max: number }) {
  const error = wants(`a whole number of ${what} from ${min} to ${max}`);
  return z.int(error).min(min, error).max(max, error);
}

export const port = () => {
  const error = wants("a port from 1 to 65535");
  return z.int(error).min(1, error).max(65_535, error);
};

export function oneOf<const T extends readonly [string, ...string[]]>(words: T) {
  return z.enum(words, {
    error: ({ input }) =>
      found(input, words.join(", "), typeof input === "string" ? suggestion(input, words).replace(/\?$/, "") : ""),
  });
}

/** A user's or group's name or number. */
export function account(what: "user" | "group") {
  const error = wants(`a ${what}'s name or number`);
  return z.union([z.int(error).min(0, error).max(HIGHEST_ID, error), z.string(error).min(1, error)], error);
}

const MODE_FORM = 'permissions in quotes, such as "0660"';

/** Permissions of a file as chmod(1) takes them. In quotes: YAML reads a bare 0660 as the decimal number 660. */
export const mode = () => {
  const complain = {
    error: ({ input }: { input?: unknown }) =>
      found(input, MODE_FORM, typeof input === "number" ? " without quotes" : ""),
  };
  return z.string(complain).regex(/^0?[0-7]{3}$/, complain);
};

interface Quantity {
  readonly pattern: RegExp;
  readonly form: string;
  readonly parse: (text: string) => number | undefined;
  readonly format: (value: number) => string;
  /** What a number without a unit could have meant. */
  readonly hint: (value: number) => string;
}

/** A number with a unit. 0 needs none. */
function quantity({ pattern, form, parse, format, hint }: Quantity, { min, max }: { min: number; max: number }) {
  const allowed = `${form}, from ${format(min)} to ${format(max)}`;
  const message = (input: unknown) =>
    found(
      input,
      allowed,
      typeof input === "number" || (typeof input === "string" && /^\d+$/.test(input)) ? hint(Number(input)) : "",
    );
  const complain = { error: ({ input }: { input?: unknown }) => message(input) };
  return z.union([z.literal(0), z.string().regex(pattern, complain)], complain).transform((written, context) => {
    const value = written === 0 ? 0 : parse(written);
    if (value !== undefined && value >= min && value <= max) return value;
    context.issues.push({ code: "custom", input: written, message: message(written) });
    return z.NEVER;
  });
}

/** Written with its unit, used in milliseconds. Limits in milliseconds. */
export const duration = (limits: { min: number; max: number }) =>
  quantity(
    {
      pattern: DURATION_PATTERN,
      form: DURATION_FORM,
      parse: parseDuration,
      format: formatDuration,
      hint: (value) => (value === 0 ? "" : ` without a unit (write ${value}s or ${value}ms)`),
    },
    limits,
  );

/** Written with its unit, used in bytes. Limits in bytes. */
export const size = (limits: { min: number; max: number }) =>
  quantity(
    {
      pattern: SIZE_PATTERN,
      form: SIZE_FORM,
      parse: parseSize,
      format: formatSize,
      hint: (value) => (value === 0 ? "" : ` without a unit (write ${formatSize(value)})`),
    },
    limits,
  );

/** A listener's address with its port. */
export const listenAddress = () =>
  z.string(wants(ADDRESS_FORM)).transform((written, context) => {
    const address = parseListenAddress(written);
    if (address !== undefined) return address;
    context.issues.push({ code: "custom", input: written, message: found(written, ADDRESS_FORM) });
    return z.NEVER;
  });

/** A block of addresses, or one address. */
export const addressBlock = () =>
  z.string(wants(BLOCK_FORM)).transform((written, context) => {
    const block = parseBlock(written);
    if (typeof block !== "string") return block;
    context.issues.push({ code: "custom", input: written, message: found(written, BLOCK_FORM, block) });
    return z.NEVER;
  });

/** One thing, or a list of such. */
export function oneOrMore<T extends z.ZodType>(item: T, allowed: string, least = 1) {
  const complain = {
    error: ({ input }: { input?: unknown }) =>
      (Array.isArray(input) ? undefined : item.safeParse(input).error?.issues[0]?.message) ?? found(input, allowed),
  };
  const list = z.array(item, complain).min(least, `found an empty list; allowed: ${allowed}`);
  return z.union([item, list], complain);
}

const PROTOCOL_FORM = 'a protocol\'s name of at most 255 bytes, such as "h2" or "acme-tls/1"';

/** ProtocolName: RFC 7301 §3.1. */
export const protocolName = () =>
  text(PROTOCOL_FORM).refine((name) => Buffer.byteLength(name) <= 255, wants(PROTOCOL_FORM));

const VERSION_FORM = '"1.0", "1.1", "1.2" or "1.3", in quotes';

/** In quotes: YAML reads a bare 1.0 as the number 1. */
export const tlsVersion = () =>
  z.enum(["1.0", "1.1", "1.2", "1.3"], {
    error: ({ input }) => found(input, VERSION_FORM, typeof input === "number" ? " without quotes" : ""),
  });

const PATTERN_FORM = `a regular expression of RE2's syntax, at most ${MAX_PATTERN_LENGTH} characters`;

export const pattern = () =>
  text(PATTERN_FORM)
    .max(MAX_PATTERN_LENGTH, wants(PATTERN_FORM))
    .superRefine((written, context) => {
      const fault = patternFault(written);
      if (fault !== undefined) context.addIssue(found(written, PATTERN_FORM, `, which is none (${fault})`));
    });

/** What a connection begins with. */
export const beginning = () =>
  z.string(wants(BEGINNING_FORM)).transform((written, context) => {
    const parsed = parseBeginning(written);
    if ("starts" in parsed) return { ...parsed, text: written };
    context.issues.push({ code: "custom", input: written, message: found(written, BEGINNING_FORM, parsed.fault) });
    return z.NEVER;
  });

/** An address that only this machine reaches, with its port. */
export const loopbackAddress = () =>
  z.string(wants(LOOPBACK_FORM)).transform((written, context) => {
    const address = parseListenAddress(written);
    if (address !== undefined && isLoopback(address)) return address;
    const hint = address === undefined ? "" : ", which others than this machine reach";
    context.issues.push({ code: "custom", input: written, message: found(written, LOOPBACK_FORM, hint) });
    return z.NEVER;
  });

/** Where a relay connects to. */
export const relayTarget = () =>
  z.string(wants(RELAY_TARGET_FORM)).transform((written, context) => {
    const parsed = parseTarget(written);
    if (parsed !== undefined) return parsed;
    context.issues.push({ code: "custom", input: written, message: found(written, RELAY_TARGET_FORM) });
    return z.NEVER;
  });

export const SERVER_FORM = '"127.0.0.53:53" or "[::1]:53"';

/** A server's numeric address and port. */
export const serverAddress = () =>
  z.string(wants(SERVER_FORM)).transform((written, context) => {
    const parsed = parseTarget(written);
    if (parsed?.kind === "address") return parsed;
    context.issues.push({ code: "custom", input: written, message: found(written, SERVER_FORM) });
    return z.NEVER;
  });
