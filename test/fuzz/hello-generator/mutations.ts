/** One thing each that is done to a hello which was right: to its structure, to its records, or to its bytes. */
import { integer, percent, pick, type Random, randomBytes, shuffled } from "../random.js";
import { addressLike, longName, validName, wrongDots } from "./names.js";
import { alpnExtension, type Draft, extension, nameEntry, serverName } from "./valid.js";
import { copyOf, encode, join, text, u16, Vector, vectorsIn, type WireRecord } from "./wire.js";

/** Each changes what it is given. */
export const structureMutations: Readonly<Record<string, (draft: Draft, random: Random) => void>> = {
  "stated-length": (draft, random) => {
    const vector = pick(random, vectorsIn(draft.message));
    vector.surplus = pick(random, [-1, 1, -2, 2, integer(random, -40, 40), integer(random, -400, 0xffff)]);
  },
  "missing-bytes": (draft, random) => {
    const vector = pick(random, vectorsIn(draft.message));
    const content = join(vector.parts.map(encode));
    vector.parts = [content.subarray(0, integer(random, 0, Math.max(0, content.length - 1)))];
  },
  "trailing-bytes": (draft, random) => {
    pick(random, vectorsIn(draft.message)).parts.push(randomBytes(random, integer(random, 1, 4)));
  },
  "nothing-in-it": (draft, random) => {
    pick(random, vectorsIn(draft.message)).parts = [];
  },
  "extension-twice": (draft, random) => {
    const list = extensionsOf(draft);
    list.splice(integer(random, 0, list.length), 0, copyOf(pick(random, list)) as Vector);
  },
  "extension-left-out": (draft, random) => {
    const list = extensionsOf(draft);
    list.splice(integer(random, 0, list.length - 1), 1);
  },
  "extensions-in-other-order": (draft, random) => {
    const vector = partOf(draft, "extensions");
    vector.parts = shuffled(random, vector.parts);
  },
  "extension-of-other-type": (draft, random) => {
    pick(random, extensionsOf(draft)).prefix = u16(pick(random, [0, 16, 43, 41, 0xfe0d, integer(random, 0, 0xffff)]));
  },
  "extension-of-other-content": (draft, random) => {
    pick(random, extensionsOf(draft)).parts = [randomBytes(random, integer(random, 0, 20))];
  },
  "no-extensions": (draft) => {
    draft.message.parts.pop();
  },
  "many-extensions": (draft, random) => {
    const types = new Set(Array.from({ length: integer(random, 10, 400) }, () => integer(random, 256, 0xfd00)));
    extensionsOf(draft).push(...[...types].map((type) => extension(type)));
  },
  "large-extension": (draft, random) => {
    extensionsOf(draft).push(extension(1001, new Uint8Array(pick(random, [8000, 15_000, 16_384, 40_000]))));
  },
  "two-host-names": (draft, random) =>
    setNames(draft, [nameEntry(text(validName(random))), nameEntry(text(validName(random)))]),
  "name-of-other-type": (draft, random) => {
    const other = nameEntry(randomBytes(random, integer(random, 0, 30)), integer(random, 1, 255));
    const host = nameEntry(text(validName(random)));
    setNames(draft, pick(random, [[other], [other, host], [host, other], [other, host, other]]));
  },
  "empty-name": (draft) => setNames(draft, [nameEntry(text(""))]),
  "byte-in-name": (draft, random) => {
    const name = text(validName(random));
    const byte = percent(random, 30) ? 0 : integer(random, 0, 255);
    const at = integer(random, 0, name.length);
    setNames(draft, [nameEntry(join([name.subarray(0, at), Uint8Array.of(byte), name.subarray(at)]))]);
  },
  "long-name": (draft, random) => setNames(draft, [nameEntry(text(longName(random)))]),
  "dots-in-name": (draft, random) => setNames(draft, [nameEntry(text(wrongDots(random)))]),
  "address-as-name": (draft, random) => setNames(draft, [nameEntry(text(addressLike(random)))]),
  "alpn-protocols": (draft, random) => {
    const lengths = pick(random, [[0], [255], [1, 0, 1], [0, 2], Array.from({ length: 60 }, () => 3)]);
    put(draft, alpnExtension(lengths.map((length) => randomBytes(random, length))));
  },
  "supported-versions": (draft, random) => {
    const list = pick(random, [[], [0x0304], [0x0303], [0x0a0a], [0x7f1c, 0x0304], [0x0305], [0x0300, 0x0002]]);
    const odd = percent(random, 30) ? [Uint8Array.of(3)] : [];
    put(draft, extension(43, new Vector("versions", 1, [...list.map(u16), ...odd])));
  },
  "legacy-version": (draft, random) => {
    draft.message.parts[0] = u16(pick(random, [0, 0x0002, 0x0200, 0x0300, 0x0301, 0x0302, 0x0304, 0x0403, 0xffff]));
  },
  "session-id": (draft, random) => {
    partOf(draft, "legacy_session_id").parts = [randomBytes(random, pick(random, [1, 16, 31, 33, 64, 255]))];
  },
  "cipher-suites": (draft, random) => {
    const length = pick(random, [0, 1, 2, 3, 400, 2000]);
    partOf(draft, "cipher_suites").parts = [randomBytes(random, length)];
  },
  "compression-methods": (draft, random) => {
    const methods = pick(random, [[], [1], [1, 0], [0, 1], Array.from({ length: 200 }, (_, i) => i)]);
    partOf(draft, "legacy_compression_methods").parts = [Uint8Array.from(methods)];
  },
  "handshake-type": (draft, random) => {
    draft.message.prefix = Uint8Array.of(pick(random, [0, 2, 11, 24, integer(random, 0, 255)]));
  },
};

/** Each returns the records that are sent instead. */
export const recordMutations: Readonly<Record<string, (records: WireRecord[], random: Random) => WireRecord[]>> = {
  "record-type": (records, random) => {
    pick(random, records).type = pick(random, [20, 21, 23, 24, integer(random, 0, 255)]);
    return records;
  },
  "record-version": (records, random) => {
    pick(random, records).version = pick(random, [0x0300, 0x0304, 0x03ff, 0x0002, 0x0200, 0x0403, 0x7f12]);
    return records;
  },
  "record-length": (records, random) => {
    pick(random, records).surplus = pick(random, [-1, 1, integer(random, -30, 30), integer(random, 0, 0xffff)]);
    return records;
  },
  "empty-record": (records, random) => {
    const empty = { ...records[0]!, content: new Uint8Array() };
    records.splice(integer(random, 0, records.length), 0, empty);
    return records;
  },
  "other-record-between": (records, random) => {
    const alert = { ...records[0]!, type: 21, content: Uint8Array.of(1, 0) };
    const changeCipherSpec = { ...records[0]!, type: 20, content: Uint8Array.of(1) };
    records.splice(integer(random, 0, records.length), 0, pick(random, [alert, changeCipherSpec]));
    return records;
  },
  "record-left-out": (records, random) => {
    records.splice(integer(random, 0, records.length - 1), 1);
    return records;
  },
  "bytes-behind-hello": (records, random) => {
    const last = records.at(-1)!;
    last.content = join([last.content, randomBytes(random, integer(random, 1, 40))]);
    return records;
  },
  "record-behind-hello": (records, random) => {
    const type = pick(random, [20, 21, 22, 23]);
    return [...records, { ...records[0]!, type, content: randomBytes(random, integer(random, 1, 40)) }];
  },
  "one-byte-records": (records) =>
    records.flatMap((record) => Array.from(record.content, (byte) => ({ ...record, content: Uint8Array.of(byte) }))),
};

/** Each returns the bytes that are sent instead. */
export const byteMutations: Readonly<Record<string, (bytes: Uint8Array, random: Random) => Uint8Array>> = {
  "flipped-bit": (bytes, random) => {
    bytes[integer(random, 0, bytes.length - 1)]! ^= 1 << integer(random, 0, 7);
    return bytes;
  },
  "other-byte": (bytes, random) => {
    bytes[integer(random, 0, bytes.length - 1)] = integer(random, 0, 255);
    return bytes;
  },
  "bytes-put-in": (bytes, random) => {
    const at = integer(random, 0, bytes.length);
    return join([bytes.subarray(0, at), randomBytes(random, integer(random, 1, 8)), bytes.subarray(at)]);
  },
  "bytes-left-out": (bytes, random) => {
    const at = integer(random, 0, bytes.length - 1);
    return join([bytes.subarray(0, at), bytes.subarray(at + integer(random, 1, 8))]);
  },
  "bytes-twice": (bytes, random) => {
    const at = integer(random, 0, bytes.length - 1);
    return join([bytes.subarray(0, at + integer(random, 1, 60)), bytes.subarray(at)]);
  },
  "cut-off": (bytes, random) => bytes.slice(0, integer(random, 0, bytes.length - 1)),
  "sslv2-hello": (_bytes, random) => {
    const suites = randomBytes(random, pick(random, [3, 9, 30, 4, 0]));
    const session = randomBytes(random, pick(random, [0, 0, 16, 5]));
    const challenge = randomBytes(random, pick(random, [16, 32, 32, 15, 33]));
    const version = pick(random, [0x0301, 0x0303, 0x0300, 0x0002, 0x0401]);
    const lengths = join([u16(suites.length), u16(session.length), u16(challenge.length)]);
    const message = join([Uint8Array.of(1), u16(version), lengths, suites, session, challenge]);
    return join([u16(0x8000 | (message.length + pick(random, [0, 0, 0, -1, 1]))), message]);
  },
};

function partOf(draft: Draft, name: string): Vector {
  return draft.message.parts.find((part): part is Vector => part instanceof Vector && part.name === name)!;
}

function extensionsOf(draft: Draft): Vector[] {
  return partOf(draft, "extensions").parts as Vector[];
}

function setNames(draft: Draft, entries: Vector[]): void {
  put(draft, serverName(entries));
}

/** In the place of the extension of its type, if there is one. */
function put(draft: Draft, made: Vector): void {
  const list = extensionsOf(draft);
  const at = list.findIndex(({ prefix }) => prefix[0] === made.prefix[0] && prefix[1] === made.prefix[1]);
  if (at < 0) list.push(made);
  else list[at] = made;
}
