/** Which part of a hello that we accept a peer refuses it for: found by leaving parts away and asking again. */
import { Ext, messageOf, records } from "../tls/hello-builder.js";
import type { Answer, Peer } from "./answer.js";

/**
 * The number is an extension's type; "others": several of those that we do not read; "hello": the fields before the
 * extensions, or several parts at once.
 */
export type Cause = "records" | "hello" | "others" | number;

/** The extensions whose content we read. */
export const READ: readonly number[] = [
  Ext.server_name,
  Ext.application_layer_protocol_negotiation,
  Ext.supported_versions,
];

interface Extension {
  readonly type: number;
  readonly start: number;
  readonly end: number;
}

/** supported_versions: without it a hello is one of TLS 1.2, where much else does not count. Only if it is no other's. */
const LAST: number = Ext.supported_versions;

/** For each hello, which `length` of ours says the end of, and which `peer` refuses. */
export async function causesOf(
  peer: Peer,
  hellos: readonly { readonly bytes: Uint8Array; readonly length: number }[],
): Promise<Cause[]> {
  const trials = hellos.map(({ bytes, length }) => {
    const message = messageOf(bytes.subarray(0, length));
    const list = extensionsOf(message);
    const bare = list.filter(({ type }) => !READ.includes(type)).reduceRight(without, message);
    const read = extensionsOf(bare);
    const variants = [
      message,
      bare,
      ...list.map((one) => without(message, one)),
      ...read.map((one) => without(bare, one)),
    ];
    return { list, read, variants: variants.map((each) => records(each)) };
  });
  const answers = await peer.ask(trials.flatMap(({ variants }) => variants));
  return trials.map(({ list, read, variants }) => {
    const [whole, bare, ...others] = answers.splice(0, variants.length);
    if (whole!.status === "accepts") return "records";
    const typesWhere = (isOther: (answer: Answer) => boolean) =>
      list.filter((_, index) => isOther(others[index]!)).map(({ type }) => type);
    const mended = typesWhere(({ status }) => status === "accepts");
    // What else is wrong is then what they say.
    const changed = typesWhere((answer) => answer.status === "refuses" && answer.why !== why(whole!));
    const isNotLast = (type: number) => type !== LAST;
    const type = mended.find(isNotLast) ?? changed.find(isNotLast) ?? mended[0];
    if (type !== undefined) return type;
    if (bare!.status === "accepts" || why(bare!) !== why(whole!)) return "others";
    return read.find((_, index) => others[list.length + index]!.status === "accepts")?.type ?? "hello";
  });
}

function why(answer: Answer): string | undefined {
  return answer.status === "refuses" ? answer.why : undefined;
}

/** Where the length of the extensions block is; the message's end if there is none. */
function blockOf(message: Uint8Array): number {
  let at = 4 + 2 + 32;
  at += 1 + message[at]!;
  at += 2 + message[at]! * 256 + message[at + 1]!;
  return at + 1 + message[at]!;
}

export function extensionsOf(message: Uint8Array): Extension[] {
  const list: Extension[] = [];
  for (let start = blockOf(message) + 2; start < message.length; start = list.at(-1)!.end) {
    const word = (at: number) => message[at]! * 256 + message[at + 1]!;
    list.push({ type: word(start), start, end: start + 4 + word(start + 2) });
  }
  return list;
}

function without(message: Uint8Array, { start, end }: Extension): Uint8Array {
  const left = Buffer.concat([message.subarray(0, start), message.subarray(end)]);
  const block = blockOf(message);
  left.writeUInt16BE(left.length - block - 2, block);
  left.writeUIntBE(left.length - 4, 1, 3);
  return left;
}
