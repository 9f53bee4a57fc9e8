/** The configuration's schema as a table for people: src/daemon/configuration/README.md must hold it as it is. */
import { jsonSchema } from "../../src/daemon/configuration/json-schema.js";

interface Node {
  readonly description?: string;
  readonly type?: string;
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly pattern?: string;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly required?: readonly string[];
  readonly items?: Node;
  readonly additionalProperties?: Node | boolean;
  readonly anyOf?: readonly Node[];
  readonly minimum?: number;
  readonly maximum?: number;
}

/** One key: its path (`backends.NAME.hold`), type, default, and meaning. */
export interface ReferenceRow {
  readonly key: string;
  readonly type: string;
  /** As it would be written; "needed", or "–" where the meaning says it. */
  readonly standard: string;
  readonly meaning: string;
}

/** Every key that has a value of its own, in the order of the schema. */
export function referenceRows(): ReferenceRow[] {
  const rows = rowsOf(jsonSchema() as Node, "", new Set());
  // Kinds of backends have keys in common, which mean the same.
  const texts = rows.map((row) => JSON.stringify(row));
  return rows.filter((_, index) => texts.indexOf(texts[index]!) === index);
}

/** `described` has the maps whose keys have rows already: rules are the same in several places. */
function rowsOf(node: Node, path: string, described: Set<string>): ReferenceRow[] {
  if (node.properties !== undefined) {
    const text = JSON.stringify(node);
    if (described.has(text)) return [];
    described.add(text);
  }
  return Object.entries(node.properties ?? {}).flatMap(([name, child]) => {
    const key = path === "" ? name : `${path}.${name}`;
    const options = typeof child.additionalProperties === "object" ? (child.additionalProperties.anyOf ?? []) : [];
    const isSimple = options.some(({ type }) => type === "string");
    const ofOptions = options.flatMap((option) => rowsOf(option, `${key}.NAME`, described));
    const inner = [
      ...(child.items?.properties ? rowsOf(child.items, `${key}[]`, described) : []),
      ...(isSimple ? [] : ofOptions),
      ...rowsOf(child, key, described),
    ];
    if (inner.length > 0) return inner;
    // What may be a map or something simpler has a row for itself, then one for each key of the map.
    const ofMap = [
      ...(isSimple ? ofOptions : []),
      ...(child.anyOf ?? []).flatMap((option) => rowsOf(option, key, described)),
    ];
    const standard =
      child.default !== undefined
        ? JSON.stringify(child.default).replaceAll('"', "")
        : node.required?.includes(name)
          ? "needed"
          : "–";
    return [{ key, type: typeOf(child), standard, meaning: child.description ?? "" }, ...ofMap];
  });
}

function typeOf(node: Node): string {
  if (node.enum !== undefined) return node.enum.join(", ");
  const pattern = node.anyOf?.find((option) => option.pattern !== undefined)?.pattern;
  if (pattern !== undefined) return pattern.includes("KiB") ? "size" : "duration";
  if (node.anyOf !== undefined) return node.anyOf.map(typeOf).join(" or ");
  if (node.type === "array") return typeof node.items?.properties === "object" ? "list of maps" : "list of text";
  if (node.properties !== undefined) return "map";
  if (node.type === "object")
    return typeof node.additionalProperties === "object" && node.additionalProperties.anyOf
      ? `map of ${typeOf(node.additionalProperties)}`
      : "map of text";
  if (node.type === "string") return "text";
  if (node.type === "integer" && node.maximum !== undefined) return `${node.minimum} to ${node.maximum}`;
  return node.type ?? "";
}

/** Markdown. */
export function referenceTable(): string {
  const cell = (text: string) => text.replaceAll("|", "\\|");
  const rows = referenceRows().map(
    ({ key, type, standard, meaning }) => `| \`${key}\` | ${cell(type)} | ${cell(standard)} | ${cell(meaning)} |`,
  );
  return ["| key | type | default | meaning |", "|-|-|-|-|", ...rows].join("\n");
}
