/** YAML text to plain values, with the place of each and everything that is wrong with the text itself. */
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, type Pair, parseAllDocuments } from "yaml";
import type { Problem } from "../../errors.js";
import { formatPath, type Position, Positions, type Step } from "./positions.js";

export interface ConfigurationDocument {
  /** Maps are objects without a prototype; undefined if the text isn't YAML or is empty. */
  readonly value: unknown;
  readonly positions: Positions;
  /** Faults of syntax; or, if there are none, duplicate keys and keys that aren't text. */
  readonly problems: readonly Problem[];
}

/**
 * Reads one document of YAML 1.2 with its anchors, aliases and merge keys (`<<`). If its syntax is wrong, there is no
 * value: what a parser makes of the rest would only give misleading errors.
 */
export function readDocument(text: string, file: string): ConfigurationDocument {
  const lineCounter = new LineCounter();
  // The parser's own check for duplicate keys compares each with each: quadratic in the number of routes.
  const documents = parseAllDocuments(text, { lineCounter, prettyErrors: false, uniqueKeys: false, merge: true });
  const at = (offset: number): Position => {
    const { line, col } = lineCounter.linePos(offset);
    return { line, column: col };
  };
  const document = Array.isArray(documents) ? documents[0] : undefined;
  const faults = Array.isArray(documents) ? documents.flatMap((each) => [...each.errors, ...each.warnings]) : [];
  const problems: Problem[] = faults.map((fault) => ({
    file,
    ...at(fault.pos[0]),
    key: "",
    message: `is not valid YAML: ${fault.message}`,
  }));
  const second = Array.isArray(documents) ? documents[1] : undefined;
  if (second !== undefined)
    problems.push({
      file,
      ...at(second.range[0]),
      key: "",
      message: 'found a second document; a configuration is one (remove the "---" before it)',
    });

  const positions = new Positions(at(document?.contents?.range?.[0] ?? 0));
  if (document === undefined || problems.length > 0) return { value: undefined, positions, problems };

  const report = (node: Node, path: readonly Step[], message: string) =>
    problems.push({ file, ...at(node.range?.[0] ?? 0), key: formatPath(path), message });
  const begun = new Set<Node>();
  const done = new Map<Node, unknown>();

  function convert(node: Node | null, path: readonly Step[]): unknown {
    if (isAlias(node)) {
      const target = node.resolve(document!);
      if (target === undefined || begun.has(target)) {
        report(node, path, `the alias *${node.source} ${target ? "contains itself" : "has no anchor before it"}`);
        return undefined;
      }
      return convert(target, path);
    }
    if (isScalar(node)) return node.value;
    if (!isMap(node) && !isSeq(node)) return null;
    // A part that is repeated by aliases is one object: its cost stays that of the text.
    if (done.has(node)) return done.get(node);
    begun.add(node);
    const value = isMap(node)
      ? convertMap(node.items as Pair<Node, Node | null>[], path)
      : convertList(node.items as Node[], path);
    begun.delete(node);
    done.set(node, value);
    return value;
  }

  function convertList(items: readonly Node[], path: readonly Step[]): unknown[] {
    const list: unknown[] = [];
    for (const [index, item] of items.entries()) {
      const place = at(item.range?.[0] ?? 0);
      positions.record(list, index, place, place);
      list.push(convert(item, [...path, index]));
    }
    return list;
  }

  function convertMap(items: readonly Pair<Node, Node | null>[], path: readonly Step[]): object {
    const map = Object.create(null) as Record<string, unknown>;
    const merged: Node[] = [];
    for (const { key: keyNode, value: valueNode } of items) {
      if (isScalar(keyNode) && typeof keyNode.value === "symbol") {
        if (valueNode !== null) merged.push(valueNode);
        continue;
      }
      const key = keyOf(keyNode, path);
      if (key === undefined) continue;
      const place = at(keyNode.range?.[0] ?? 0);
      if (key in map) {
        const { line } = positions.key(map, [key]);
        report(
          keyNode,
          [...path, key],
          `is a second time in this map (first on line ${line}); each key may be there once`,
        );
        continue;
      }
      positions.record(map, key, place, valueNode?.range ? at(valueNode.range[0]) : place);
      map[key] = convert(valueNode, [...path, key]);
    }
    for (const source of merged) merge(map, source, path);
    return map;
  }

  /** Keys must be text; other scalars are reported, and taken as they are written so that checking can go on. */
  function keyOf(node: Node | null, path: readonly Step[]): string | undefined {
    const scalar = isAlias(node) ? node.resolve(document!) : node;
    if (!isScalar(scalar)) {
      if (node !== null) report(node, path, "found a list or a map as a key; keys are text");
      return undefined;
    }
    const { value } = scalar;
    if (value === "__proto__") {
      report(scalar, path, "found __proto__, which cannot be a key");
      return undefined;
    }
    if (typeof value === "string") return value;
    const written = scalar.source ?? String(value);
    report(scalar, path, `found ${written || "nothing"} as a key; keys are text: write "${written}" in quotes`);
    return written;
  }

  /** https://yaml.org/type/merge.html: the map's own keys win, then earlier sources. */
  function merge(map: Record<string, unknown>, source: Node, path: readonly Step[]): void {
    const value = convert(source, path);
    for (const part of Array.isArray(value) ? value : [value]) {
      if (typeof part !== "object" || part === null || Array.isArray(part)) {
        report(source, path, "found something else than a map after <<; allowed: an alias of a map, or a list of such");
        continue;
      }
      for (const key of Object.keys(part)) {
        if (key in map) continue;
        positions.record(map, key, positions.key(part, [key]), positions.value(part, [key]));
        map[key] = (part as Record<string, unknown>)[key];
      }
    }
  }

  return { value: convert(document.contents, []), positions, problems };
}
