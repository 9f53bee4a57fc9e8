/** Blocks of addresses as an operator writes them: `10.0.0.0/8`, `fd00::/8`, `192.0.2.7`. */
import { isIPv4, isIPv6 } from "node:net";
import ipaddr from "ipaddr.js";
import type { Block } from "../../door/address-blocks.js";

export const BLOCK_FORM = 'an address or a block such as "10.0.0.0/8", "192.0.2.7" or "fd00::/8"';

export interface WrittenBlock extends Block {
  /** In its shortest form: "10.0.0.0/8"; an address alone is without its length. */
  readonly text: string;
}

/** A block; or why it is none that can be used: "" if `text` is nothing of the kind. */
export function parseBlock(text: string): WrittenBlock | string {
  const [, address, length] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  // ipaddr.js takes what inet_aton(3) does, such as 10.1 and 010.0.0.1: who writes that may mean something else.
  if (address === undefined || !(isIPv4(address) || isIPv6(address)) || address.includes("%")) return "";
  const parsed = ipaddr.parse(address);
  const bytes = Uint8Array.from(parsed.toByteArray());
  const prefix = length === undefined ? bytes.length * 8 : Number(length);
  if (prefix > bytes.length * 8) return `, which has only ${bytes.length * 8} bits`;
  const first = masked(bytes, prefix);
  const shortest = `${ipaddr.fromByteArray([...first])}`;
  if (!first.every((byte, index) => byte === bytes[index]))
    return `, which has bits set behind the first ${prefix} (write ${shortest}/${prefix})`;
  return { bytes, prefix, text: prefix === bytes.length * 8 ? shortest : `${shortest}/${prefix}` };
}

function masked(bytes: Uint8Array, prefix: number): Uint8Array {
  return bytes.map((byte, index) => byte & (0xff00 >> Math.min(8, Math.max(0, prefix - 8 * index))));
}
