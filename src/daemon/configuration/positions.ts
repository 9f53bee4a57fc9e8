/** Where in its file each value of a configuration stands. Lines and columns count from 1. */

export interface Position {
  readonly line: number;
  readonly column: number;
}

/** A step into a value: a map's key, or a list's index. */
export type Step = string | number;

interface Places {
  readonly key: Position;
  readonly value: Position;
}

/** Remembers for each map and list where its entries stand. A part that an alias repeats has the place of its anchor. */
export class Positions {
  readonly #root: Position;
  readonly #containers = new WeakMap<object, Map<Step, Places>>();

  /** `root` is where the document's own value begins. */
  constructor(root: Position) {
    this.#root = root;
  }

  record(container: object, step: Step, key: Position, value: Position): void {
    const places = this.#containers.get(container) ?? new Map<Step, Places>();
    this.#containers.set(container, places.set(step, { key, value }));
  }

  /** Where the value at `path` stands under `root`, or the last part of the path that is there: a missing key is reported at its map. */
  value(root: unknown, path: readonly Step[]): Position {
    return this.#walk(root, path)?.value ?? this.#root;
  }

  /** Where the key that ends `path` stands. */
  key(root: unknown, path: readonly Step[]): Position {
    return this.#walk(root, path)?.key ?? this.#root;
  }

  #walk(root: unknown, path: readonly Step[]): Places | undefined {
    let found: Places | undefined;
    let value = root;
    for (const step of path) {
      if (typeof value !== "object" || value === null) break;
      const next = this.#containers.get(value)?.get(step);
      if (next === undefined) break;
      found = next;
      value = (value as Record<Step, unknown>)[step];
    }
    return found;
  }
}

/** A path as an operator reads it: `listeners[0].address`, `routes["*.example.com"]`. */
export function formatPath(path: readonly Step[]): string {
  let text = "";
  for (const step of path) {
    if (typeof step === "number") text += `[${step}]`;
    else if (/^[A-Za-z_][\w-]*$/.test(step)) text += text === "" ? step : `.${step}`;
    else text += `[${JSON.stringify(step)}]`;
  }
  return text;
}
