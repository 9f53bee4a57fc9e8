/** What must hold for any bytes that are read as the head of an HTTP request. */
import { redirect } from "../../../src/http/answers.js";
import { HEAD_FAULTS, type HeadFault, HeadStatus } from "../../../src/http/outcome.js";
import { RequestHeadReader } from "../../../src/http/request-head.js";
import { guard } from "../../tls/guard.js";
import { check, followed, hashOf, NAME, same, surrounded } from "../check.js";
import { readByNode } from "./node-head.js";

const MAX_LENGTH = 16_384;

type HeadFacts =
  | { readonly status: "partial" | "http2" }
  | { readonly status: "invalid"; readonly reason: HeadFault }
  | Done;

interface Done {
  readonly status: "done";
  readonly name: string;
  readonly ipLiteral: boolean;
  /** undefined: the request-target has none. */
  readonly path: string | undefined;
  /** Where it begins, from the head's beginning. */
  readonly pathAt: number;
  readonly length: number;
}

/** One for all inputs, as a worker has. */
const shared = new RequestHeadReader(MAX_LENGTH);

function read(bytes: Uint8Array, start = 0, end = bytes.length, reader = shared): HeadFacts {
  switch (reader.read(bytes, start, end)) {
    case HeadStatus.PARTIAL:
      return { status: "partial" };
    case HeadStatus.HTTP2:
      return { status: "http2" };
    case HeadStatus.INVALID:
      return { status: "invalid", reason: reader.reason };
    default: {
      const { name, nameLength, ipLiteral, pathStart, pathEnd, length } = reader;
      return {
        status: "done",
        name: textOf(name, 0, nameLength),
        ipLiteral,
        path: pathEnd === 0 ? undefined : textOf(bytes, pathStart, pathEnd),
        pathAt: pathEnd === 0 ? 0 : pathStart - start,
        length,
      };
    }
  }
}

/** Byte by byte: a guarded array has nothing else. */
function textOf(bytes: Uint8Array, start: number, end: number): string {
  let text = "";
  for (let i = start; i < end; i++) text += String.fromCharCode(bytes[i]!);
  return text;
}

export function checkHead(bytes: Uint8Array): HeadFacts {
  const whole = read(bytes);
  const hash = hashOf(bytes);
  if (whole.status === "invalid") check(HEAD_FAULTS.includes(whole.reason), "a declared reason", whole);
  for (const filler of [0x0a, 0x41]) {
    const { bytes: all, start, end } = surrounded(bytes, filler);
    same(read(all, start, end), whole, `bytes of ${filler} around it change what is read`);
    if (whole.status !== "partial") same(read(followed(bytes, filler)), whole, "bytes behind it change what is read");
  }
  if (hash % 8 === 0 && bytes.length < 4000) {
    const guarded = guard(bytes);
    same(read(guarded.bytes, guarded.start, guarded.end), whole, "a read outside of the bytes");
    check(guarded.reads() <= 12 * bytes.length + 64, "time that is linear in the bytes", guarded.reads());
  }
  if (hash % 16 === 1)
    same(read(bytes, 0, bytes.length, new RequestHeadReader(MAX_LENGTH)), whole, "a reader remembers");
  const part = read(bytes, 0, hash % (bytes.length + 1));
  if (part.status !== "partial") same(part, whole, `${hash % (bytes.length + 1)} bytes of it were decided otherwise`);
  if (whole.status === "done") checkDone(bytes, whole);
  return whole;
}

function checkDone(bytes: Uint8Array, { name, ipLiteral, path, pathAt, length }: Done): void {
  check(name === "" || NAME.test(name), "a name in its one form", name);
  check(!(ipLiteral && name !== ""), "an address is no name", name);
  const text = Buffer.from(bytes).toString("latin1", 0, length);
  check(length <= bytes.length && text.endsWith("\r\n\r\n"), "a head ends with an empty line", length);
  check(text.indexOf("\r\n\r\n", 2) === length - 4, "and has none before", text);
  if (path !== undefined) checkRedirect(bytes, pathAt, path);
  const seen = readByNode(bytes.subarray(0, length));
  if (seen === undefined) return;
  // Whoever gets the connection reads the same bytes: it must not find another host.
  if (path?.startsWith("/") && seen.url === path) {
    check(seen.hosts.length <= 1, "one Host", seen.hosts);
    const host = (seen.hosts[0] ?? "").toLowerCase().replace(/:\d*$/, "").replace(/\.$/, "");
    same(name, ipLiteral ? "" : host, "the host that Node's parser finds");
  }
}

/** Nothing that the client sent ends a line of the answer, or begins one. */
function checkRedirect(bytes: Uint8Array, start: number, path: string): void {
  const made = redirect("a.example", 443, bytes, start, start + path.length, 0);
  const lines = Buffer.from(made)
    .toString("latin1")
    .split(/\r\n|\r|\n/);
  same(lines.length, 7, "lines of a redirect");
  const location = `Location: https://a.example${path.startsWith("/") ? "" : "/"}${path}`;
  same(lines[2], location, "where it leads");
  check(/^[\x21-\x7e\x80-\xff]*$/.test(path), "a path of visible bytes", path);
}
