/** YAML out of a tree: on one line where that fits, else in blocks. Pure. */

/** A scalar as it is to be written, a list, or a map. */
export type Node =
  | string
  | { readonly list: readonly Node[]; readonly inBlocks?: boolean }
  | { readonly map: readonly Entry[]; readonly inBlocks?: boolean };

export type Entry = readonly [key: string, value: Node];

/** Columns. */
const WIDTH = 120;

export function printEntry([key, value]: Entry, indent = ""): string {
  const line = `${indent}${key}: ${flow(value)}`;
  if (typeof value === "string" || (value.inBlocks !== true && line.length <= WIDTH)) return line;
  return `${indent}${key}:\n${printBlock(value, `${indent}  `)}`;
}

function printBlock(node: Exclude<Node, string>, indent: string): string {
  if ("map" in node) return node.map.map((entry) => printEntry(entry, indent)).join("\n");
  return node.list.map((item) => printItem(item, indent)).join("\n");
}

function printItem(item: Node, indent: string): string {
  const line = `${indent}- ${flow(item)}`;
  if (typeof item === "string" || (item.inBlocks !== true && line.length <= WIDTH)) return line;
  return `${indent}- ${printBlock(item, `${indent}  `).trimStart()}`;
}

function flow(node: Node): string {
  if (typeof node === "string") return node;
  if ("list" in node) return `[${node.list.map(flow).join(", ")}]`;
  return `{ ${node.map.map(([key, value]) => `${key}: ${flow(value)}`).join(", ")} }`;
}

/** JSON's strings are YAML's. */
export const quoted = (text: string): string => JSON.stringify(text);

/** Plain, where YAML cannot take it for anything but a string. */
export function scalar(text: string): string {
  const plain = /^[a-z][a-z0-9._-]*$/i.test(text) && !/^(?:true|false|yes|no|on|off|null|y|n)$/i.test(text);
  return plain ? text : quoted(text);
}
