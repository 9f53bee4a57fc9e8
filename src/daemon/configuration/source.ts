/** The YAML files of a configuration, and places in them. */
import type { Problem } from "../../errors.js";
import { formatPath, type Positions, type Step } from "./positions.js";

/** One file, read. */
export interface Source {
  /** As short as an operator would write it. */
  readonly file: string;
  readonly value: unknown;
  readonly positions: Positions;
}

/** A part of a file. */
export interface Place {
  readonly source: Source;
  readonly path: readonly Step[];
}

/** Makes a problem of a place in the configuration. */
export type Report = (place: Place, message: string, part?: "key" | "value") => void;

export function problemAt({ source, path }: Place, message: string, part: "key" | "value" = "value"): Problem {
  return { file: source.file, ...source.positions[part](source.value, path), key: formatPath(path), message };
}

/** `file:line:column` of a key, for a message about another place. */
export function formatPlace({ source, path }: Place): string {
  const { line, column } = source.positions.key(source.value, path);
  return `${source.file}:${line}:${column}`;
}
