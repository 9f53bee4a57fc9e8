/** Which names go elsewhere under another route table. */
import { KeyCursor } from "../../routing/keys.js";
import { FIRST_RULES_TARGET, RouteTable, RouteTableBuilder } from "../../routing/table.js";
import type { Configuration } from "./configuration.js";
import { targetText } from "./rule-text.js";

export interface RouteChange {
  /** As configured: "app.example.com", "*.example.com". */
  readonly name: string;
  /** The backend's name, or rules in words; undefined for a name that is added. */
  readonly from: string | undefined;
  /** The same; undefined for a name that is removed. */
  readonly to: string | undefined;
}

export interface RoutesOfKind {
  readonly count: number;
  /** The first few, in the order of the files. */
  readonly first: readonly RouteChange[];
}

export interface RoutesDiff {
  readonly added: RoutesOfKind;
  readonly removed: RoutesOfKind;
  /** To another backend by its name (the order of backends doesn't matter), or by other rules. */
  readonly moved: RoutesOfKind;
}

/** How many routes of each kind are told by name. */
const MAX_NAMED = 20;

type Side = Pick<Configuration, "routes" | "door">;

/** Stands for a table that is not configured. */
const NO_ROUTES = new RouteTableBuilder({ names: 0, nameBytes: 0 }).finish();

/** The same of the routes for http listeners. */
export function compareHttpRoutes(running: Side, next: Side): RoutesDiff {
  const side = ({ door }: Side): Side => ({ door, routes: door.http?.routes ?? NO_ROUTES });
  return compareRoutes(side(running), side(next));
}

/** Looks up each name of the running table in the next one, and makes objects only for those that are told. */
export function compareRoutes(running: Side, next: Side): RoutesDiff {
  const nameBefore = (target: number) => targetText(target, running.door);
  const nameAfter = (target: number) => targetText(target, next.door);
  const indices = new Map(next.door.backends.map(({ name }, index) => [name, index]));
  const sameBackend = Int32Array.from(running.door.backends, ({ name }) => indices.get(name) ?? -1);

  const after = new RouteTable(next.routes);
  const removed = new Kind();
  const moved = new Kind();
  let kept = 0;
  const cursor = new KeyCursor(running.routes);
  while (cursor.next()) {
    const target = after.findKey(cursor.bytes, cursor.start, cursor.end);
    if (target < 0) {
      if (removed.counts())
        removed.first.push({ name: cursor.pattern, from: nameBefore(cursor.target), to: undefined });
      continue;
    }
    kept++;
    const same =
      cursor.target < FIRST_RULES_TARGET
        ? target === sameBackend[cursor.target]
        : target >= FIRST_RULES_TARGET && nameBefore(cursor.target) === nameAfter(target);
    if (!same && moved.counts())
      moved.first.push({ name: cursor.pattern, from: nameBefore(cursor.target), to: nameAfter(target) });
  }
  return { added: addedRoutes(running, next, after.names - kept, nameAfter), removed, moved };
}

/** `count` is known already; the names are looked for until enough are found. */
function addedRoutes(running: Side, next: Side, count: number, backend: (target: number) => string): RoutesOfKind {
  const before = new RouteTable(running.routes);
  const first: RouteChange[] = [];
  const cursor = new KeyCursor(next.routes);
  while (first.length < Math.min(count, MAX_NAMED) && cursor.next()) {
    if (before.findKey(cursor.bytes, cursor.start, cursor.end) < 0)
      first.push({ name: cursor.pattern, from: undefined, to: backend(cursor.target) });
  }
  return { count, first };
}

class Kind implements RoutesOfKind {
  count = 0;
  readonly first: RouteChange[] = [];

  /** Counts one more; true if it is to be told by name. */
  counts(): boolean {
    return ++this.count <= MAX_NAMED;
  }
}
