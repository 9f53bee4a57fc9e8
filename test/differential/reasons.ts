/** Where we and others disagree about a hello, and why that may be so. What is not here fails the test. */
import type { InvalidReason } from "../../src/tls/outcome.js";
import { malformedHellos } from "../support/malformed-hellos.js";
import { concat, Ext, extension, messageOf, patched, record, records, sslv2Hello } from "../tls/hello-builder.js";
import { READ } from "./cause.js";
import type { Kind } from "./comparison.js";
import { type Disagreement, nameEntries } from "./disagreement.js";
import type { PeerName } from "./peers.js";
import { served } from "./served.js";

export interface Reason {
  readonly peers: readonly PeerName[];
  readonly kind: Kind;
  /** Which hellos of that kind, in words. */
  readonly what: string;
  readonly why: string;
  matches(disagreement: Disagreement): boolean;
  /** One such hello. */
  example(): Uint8Array;
}

export function reasonFor(disagreement: Disagreement): Reason | undefined {
  return REASONS.find(
    (reason) =>
      reason.peers.some((peer) => peer === disagreement.peer) &&
      reason.kind === disagreement.kind &&
      reason.matches(disagreement),
  );
}

/** As README.md has it. */
export function row({ peers, kind, what, why }: Reason): string {
  return `| ${peers.join(", ")} | ${kind} | ${what} | ${why} |`;
}

const isName = ({ cause }: Disagreement) => cause === Ext.server_name;

function minorVersions(bytes: Uint8Array): number[] {
  const list: number[] = [];
  for (let at = 0; at + 5 <= bytes.length; at += 5 + bytes[at + 3]! * 256 + bytes[at + 4]!) list.push(bytes[at + 2]!);
  return list;
}

/** A row for a reason of ours for which these peers see none. */
function theyDoNotMind(
  reason: InvalidReason,
  peers: readonly PeerName[],
  what: string,
  why: string,
  example = () => malformedHellos[reason],
): Reason {
  return {
    peers,
    kind: "only they accept",
    what: `${what} (\`${reason}\`)`,
    why,
    matches: ({ detail }) => detail === reason,
    example,
  };
}

/** Our reasons to refuse what tshark shows without a complaint. */
const SHOWN: readonly (InvalidReason | "not TLS")[] = [
  "not TLS",
  "record_version",
  "not_a_handshake",
  "handshake_after_hello",
  "legacy_version",
  "session_id_length",
  "trailing_bytes",
  "duplicate_extension",
  "empty_server_name",
  "duplicate_server_name",
  "server_name_length",
  "server_name_characters",
  "server_name_label",
  "sslv2_length",
];

const EVERY: readonly PeerName[] = ["openssl", "go", "rustls", "tshark"];
const message = messageOf(served());

export const REASONS: readonly Reason[] = [
  {
    peers: ["openssl", "go", "tshark"],
    kind: "name not normalised",
    what: "capitals or one final dot in the name",
    why: "DNS names are the same in any case, and with the root's dot; we look a name up in one form",
    matches: () => true,
    example: () => served({ serverName: "APP.example" }),
  },
  {
    peers: ["openssl", "go", "tshark"],
    kind: "address as a name",
    what: "an IP address as the host_name",
    why: "RFC 6066 §3 forbids it: to us it is no name, and no route has it",
    matches: () => true,
    example: () => served({ serverName: "192.0.2.1" }),
  },
  {
    peers: ["go", "rustls"],
    kind: "only we accept",
    what: "a hello in SSLv2's format",
    why: "they do not speak it, OpenSSL does; it has no name, so it goes where hellos without one go",
    matches: ({ ours }) => ours.status === "done" && ours.sslv2,
    example: () => sslv2Hello(),
  },
  {
    peers: EVERY,
    kind: "only we accept",
    what: "an extension that we do not read is malformed, or not allowed here",
    why: "a server reads all that it knows, the door what routing takes; the client is told by the backend",
    matches: ({ cause }) => cause === "others" || (typeof cause === "number" && !READ.includes(cause)),
    example: () => served({ extensions: [extension(5, [1, 0, 9])] }),
  },
  {
    peers: ["openssl"],
    kind: "only we accept",
    what: "names of types other than host_name in the list",
    why: "OpenSSL takes nothing but one host_name; we skip others by their length, as RFC 6066 §3 promises they have one",
    matches: (one) => isName(one) && nameEntries(one).some(({ type }) => type !== 0),
    example: () => served({ serverName: [{ name: "app.example" }, { type: 1, name: "other" }] }),
  },
  {
    peers: ["go"],
    kind: "only we accept",
    what: "a name with a final dot",
    why: "Go refuses it; OpenSSL and rustls do not, and clients send it: the dot is dropped",
    matches: (one) => isName(one) && nameEntries(one).some(({ name }) => name.endsWith(".")),
    example: () => served({ serverName: "app.example." }),
  },
  {
    peers: ["go", "tshark"],
    kind: "only we accept",
    what: "an empty name of a type other than host_name",
    why: "we skip it, whatever its length is",
    matches: (one) => isName(one) && nameEntries(one).some(({ type, name }) => type !== 0 && name === ""),
    example: () => served({ serverName: [{ type: 1, name: "" }, { name: "app.example" }] }),
  },
  {
    peers: ["rustls"],
    kind: "only we accept",
    what: "a name of another type before the host_name, or without one",
    why: "rustls stops at a type that it does not know, and wants a host_name; we skip to the next by its length",
    matches: (one) => isName(one) && (nameEntries(one)[0]?.type ?? 0) !== 0,
    example: () => served({ serverName: [{ type: 1, name: "other" }, { name: "app.example" }] }),
  },
  {
    peers: ["rustls"],
    kind: "only we accept",
    what: "a host_name of more than 253 bytes, with a hyphen at a label's end, or whose last label is a number (0x1 is one)",
    why: "rustls takes names that can be in a certificate; we take those that a route can have, which are more",
    matches: (one) =>
      isName(one) &&
      nameEntries(one).some(
        ({ name }) =>
          name.length > 253 || /(?:^|\.)-|-(?:\.|$)/.test(name) || /(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$/i.test(name),
      ),
    example: () => served({ serverName: "app-.example" }),
  },
  {
    peers: ["rustls"],
    kind: "only we accept",
    what: "an IPv6 address in brackets",
    why: "to rustls it is neither an address nor a name; to us it is no name, as every other address",
    matches: (one) => isName(one) && one.ours.status === "done" && one.ours.ipLiteral,
    example: () => served({ serverName: "[::1]" }),
  },
  {
    peers: ["openssl"],
    kind: "only we accept",
    what: "no version, cipher suite or compression method that the server has",
    why: "the door negotiates nothing: the backend answers",
    matches: ({ cause, detail }) =>
      (cause === "hello" || cause === Ext.supported_versions) &&
      /^(?:no shared cipher|unsupported protocol|version too low|bad legacy version|no compression specified)$/.test(
        detail,
      ),
    example: () => served({ cipherSuites: [0xc02b, 0xc02f], versions: [0x0304] }),
  },
  {
    peers: ["openssl"],
    kind: "only we accept",
    what: "TLS_FALLBACK_SCSV beside a version below the server's",
    why: "RFC 7507 §3: the server refuses such a fallback; the door has no version of its own, so the backend does",
    matches: ({ cause, detail }) => cause === "hello" && detail === "inappropriate fallback",
    example: () => served({ cipherSuites: [0xc02b, 0xc02f, 0x5600], versions: [0x0303] }),
  },
  {
    peers: ["rustls"],
    kind: "only we accept",
    what: "no signature algorithm or compression method that it could take",
    why: "the door negotiates nothing: the backend answers",
    matches: ({ cause, detail }) =>
      cause === "hello" &&
      /SignatureAlgorithmsExtensionRequired|NullCompressionRequired|NoSignatureSchemes/.test(detail),
    example: () => served({ compressionMethods: [1] }),
  },
  theyDoNotMind(
    "server_name_characters",
    ["openssl", "go"],
    "a byte that no name has",
    "it must not get into routes, logs and metrics",
    () => served({ serverName: "app .example" }),
  ),
  theyDoNotMind(
    "server_name_label",
    ["openssl", "go"],
    "an empty label, or one of more than 63 bytes",
    "DNS has no such name",
    () => served({ serverName: "app..example" }),
  ),
  theyDoNotMind("server_name_length", ["go"], "a name of more than 255 bytes", "DNS has no such name", () =>
    served({ serverName: `${"a.".repeat(130)}example` }),
  ),
  theyDoNotMind(
    "empty_server_name",
    ["openssl"],
    "an empty host_name",
    "RFC 6066 §3: at least a byte; OpenSSL takes it for a name of no bytes",
    () => served({ serverName: "" }),
  ),
  theyDoNotMind(
    "length_overruns_parent",
    ["rustls"],
    "a list of names whose second one, of another type, is cut off",
    "rustls looks at nothing behind a type that it does not know; each length must fit into what holds it",
    () => {
      const hello = served({ serverName: [{ name: "app.example" }, { type: 1, name: "other" }] });
      return patched(hello, Buffer.from(hello).indexOf("other") - 1, [99]);
    },
  ),
  theyDoNotMind(
    "duplicate_extension",
    ["openssl"],
    "two extensions of one type",
    "RFC 8446 §4.2 forbids it: who takes the first and who takes the last would differ. OpenSSL lets it pass for types that it does not know",
    () => served({ extensions: [extension(1000), extension(1000)] }),
  ),
  theyDoNotMind(
    "too_long",
    EVERY,
    "more than 16384 bytes",
    "`hello.maxLength`: no client sends as much, and it is kept in memory",
    () => served({ extensions: [extension(1000, new Uint8Array(17_000))] }),
  ),
  theyDoNotMind(
    "handshake_after_hello",
    ["openssl", "go"],
    "bytes behind the hello in its record",
    "RFC 8446 §5.1: no message before a key change may share its record",
    () => served({ appendix: "behind", versions: [0x0303] }),
  ),
  theyDoNotMind(
    "zero_length_record",
    ["openssl"],
    "an empty record before the hello is complete",
    "RFC 8446 §5.1 forbids it, and a client can send many at no cost",
    () => records(message, [40, 0, 16384]),
  ),
  theyDoNotMind(
    "record_version",
    ["go", "rustls"],
    "a later record whose major version is not 3",
    "it is no TLS; OpenSSL refuses it too",
    () => concat(record(22, message.subarray(0, 40)), record(22, message.subarray(40), 0x0002)),
  ),
  {
    peers: ["go", "rustls"],
    kind: "only they accept",
    what: "a first record whose major version is not 3 (`notTls`)",
    why: "it is another protocol to us: it gets no route by name",
    matches: ({ detail }) => detail === "not TLS",
    example: () => served({ recordVersion: 0x0002 }),
  },
  theyDoNotMind(
    "legacy_version",
    ["openssl", "go", "rustls"],
    "a legacy_version whose major one is not 3",
    "no TLS has one, and a backend may take it for anything",
    () => served({ legacyVersion: 0x0403 }),
  ),
  theyDoNotMind("session_id_length", ["go"], "a session id of more than 32 bytes", "RFC 8446 §4.1.2: at most 32", () =>
    served({ sessionId: new Uint8Array(33) }),
  ),
  theyDoNotMind("cipher_suites_length", ["go"], "no cipher suites", "RFC 8446 §4.1.2: at least one", () =>
    served({ cipherSuites: [] }),
  ),
  theyDoNotMind("compression_methods_length", ["go"], "no compression methods", "RFC 8446 §4.1.2: at least one", () =>
    served({ compressionMethods: [] }),
  ),
  theyDoNotMind(
    "sslv2_length",
    ["openssl"],
    "a hello in SSLv2's format whose challenge is not of 16 to 32 bytes",
    "RFC 5246 appendix E.2; OpenSSL takes the challenge as it is",
    () => sslv2Hello({ challenge: 15 }),
  ),
  {
    peers: ["tshark"],
    kind: "only they accept",
    what: "what breaks a rule, but can be shown",
    why: "a dissector is no server: it shows all names of a list, all extensions of a type, names of any bytes",
    matches: ({ detail }) => SHOWN.some((reason) => reason === detail),
    example: () => served({ serverName: [{ name: "app.example" }, { name: "other.example" }] }),
  },
  {
    peers: ["tshark"],
    kind: "only we accept",
    what: "a NUL in a protocol's name, or in a name of a type other than host_name",
    why: "it is a byte as any other (RFC 7301 §3.1, RFC 6066 §3); the dissector takes both for text",
    matches: (one) =>
      one.detail.includes("Trailing stray characters") &&
      (one.cause === Ext.application_layer_protocol_negotiation ||
        (isName(one) && nameEntries(one).some(({ type, name }) => type !== 0 && name.includes("\0")))),
    example: () => served({ alpn: ["a\0b"] }),
  },
  {
    peers: ["tshark"],
    kind: "only we accept",
    what: "what is behind the hello",
    why: "we do not look at it: it is for the backend",
    matches: ({ cause, ours, bytes }) => cause === "records" && ours.status === "done" && ours.length < bytes.length,
    example: () => concat(served(), [22, 3, 1, 0, 0]),
  },
  {
    peers: ["tshark"],
    kind: "we are done, they wait",
    what: "a record whose minor version is above 3",
    why: "RFC 8446 §5.1: a record's version must be ignored; the dissector takes it for another protocol",
    matches: ({ bytes }) => minorVersions(bytes).some((minor) => minor > 3),
    example: () => served({ recordVersion: 0x03ff }),
  },
];
