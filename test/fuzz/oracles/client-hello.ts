/** What must hold for any bytes that are read as a ClientHello. */
import { MAX_NAME_LENGTH, normaliseNameBytes } from "../../../src/routing/name.js";
import { ClientHelloReader, DEFAULT_MAX_LENGTH } from "../../../src/tls/client-hello.js";
import { ALERT_CODES, alertFor, INVALID_REASONS } from "../../../src/tls/index.js";
import { type Facts, facts } from "../../tls/facts.js";
import { guard } from "../../tls/guard.js";
import { messageOf, records } from "../../tls/hello-builder.js";
import { check, followed, hashOf, NAME, same, surrounded } from "../check.js";

type Done = Extract<Facts, { status: "done" }>;

/** One for all inputs, as a worker has, so that what leaks from one read to the next is noticed. */
const reader = new ClientHelloReader();

function read(bytes: Uint8Array, start = 0, end = bytes.length, by = reader): Facts {
  return facts(by, by.read(bytes, start, end));
}

export function checkHello(bytes: Uint8Array): Facts {
  const whole = read(bytes);
  checkOutcome(whole, bytes.length);
  const hash = hashOf(bytes);

  for (const filler of [0x16, 0xff]) {
    const { bytes: all, start, end } = surrounded(bytes, filler);
    same(read(all, start, end), whole, `bytes of ${filler} around it change what is read`);
    if (whole.status !== "partial") same(read(followed(bytes, filler)), whole, "bytes behind it change what is read");
  }
  if (hash % 8 === 0 && bytes.length < 4000) {
    const guarded = guard(bytes);
    same(read(guarded.bytes, guarded.start, guarded.end), whole, "a read outside of the bytes");
    // Of a hello in many records headers are looked at twice, and the names of extensions by several hands.
    check(guarded.reads() <= 8 * bytes.length + 64, "time that is linear in the bytes", guarded.reads());
  }
  if (hash % 16 === 1) same(read(bytes, 0, bytes.length, new ClientHelloReader()), whole, "a reader remembers");
  checkPrefix(bytes, hash % (bytes.length + 1), whole);
  checkWaiting(bytes, whole);
  if (whole.status === "done" && !whole.sslv2 && hash % 4 === 0)
    checkOtherRecords(bytes.subarray(0, whole.length), whole, hash);
  return whole;
}

function checkOutcome(whole: Facts, length: number): void {
  switch (whole.status) {
    case "partial":
      check(whole.needed > length, "a partial hello needs more than there is", whole);
      check(whole.needed <= DEFAULT_MAX_LENGTH, "no more is asked for than a hello may have", whole);
      return;
    case "invalid":
      check(INVALID_REASONS.includes(whole.reason), "a reason that is declared", whole);
      check(alertFor(whole.reason) in ALERT_CODES, "an alert for it", whole);
      return;
    case "done":
      check(whole.length <= length && whole.length <= DEFAULT_MAX_LENGTH, "a hello within the bytes", whole);
      check(!(whole.ipLiteral && whole.serverName !== undefined), "an address is no name", whole);
      check(
        whole.alpn.every((each) => each.length >= 1 && each.length <= 255),
        "protocols of 1 to 255 bytes",
        whole,
      );
      check(!whole.sslv2 || (whole.serverName === undefined && whole.alpn.length === 0), "nothing in SSLv2", whole);
      if (whole.serverName !== undefined) checkName(whole.serverName);
  }
}

const normal = new Uint8Array(MAX_NAME_LENGTH);

/** Whatever name can arrive can be configured, and is the same one there; but for what is meant as an address. */
function checkName(name: string): void {
  check(NAME.test(name), "a name in its one form", name);
  if (/^\d+(\.\d+){3}$/.test(name)) return;
  const bytes = Buffer.from(name, "latin1");
  const length = normaliseNameBytes(bytes, 0, bytes.length, normal);
  check(typeof length === "number", `${name} can be configured`, length);
  same(Buffer.from(normal.subarray(0, length)).toString("latin1"), name, "as configured");
}

/** A decision is final, and "no name" never comes of a part. */
function checkPrefix(bytes: Uint8Array, cut: number, whole: Facts): void {
  const part = read(bytes, 0, cut);
  if (part.status !== "partial") return same(part, whole, `${cut} bytes of it were decided otherwise`);
  check(part.needed > cut, "a partial hello needs more than there is", part);
  if (whole.status === "done") check(part.needed <= whole.length, `${cut} bytes ask for no more than it has`, part);
  if (whole.status === "partial") check(part.needed <= whole.needed, `${cut} bytes ask for no more than all`, part);
}

/** Who waits for what is needed, and gets exactly that, comes to the same. */
function checkWaiting(bytes: Uint8Array, whole: Facts): void {
  let length = 0;
  for (let reads = 0; ; reads++) {
    check(reads <= 3 + bytes.length / 5, "each look brings a record, or at least its header", { reads, length });
    const part = read(bytes, 0, length);
    if (part.status !== "partial") return same(part, whole, `after waiting for ${length} bytes`);
    if (part.needed > bytes.length) {
      check(whole.status !== "done", `${part.needed} bytes are needed of ${bytes.length}`, whole);
      return;
    }
    length = part.needed;
  }
}

/** The same message in other records is the same hello. */
function checkOtherRecords(bytes: Uint8Array, whole: Done, hash: number): void {
  const size = 1 + ((hash >>> 8) % 700);
  const cut = records(messageOf(bytes), [1 + (hash % 5), size]);
  if (cut.length > DEFAULT_MAX_LENGTH) return;
  const { length, ...others } = read(cut) as Done;
  same(length, cut.length, `in records of ${size} bytes`);
  const { length: _, ...expected } = whole;
  same(others, expected, `in records of ${size} bytes`);
}
