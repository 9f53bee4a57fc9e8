/** Plain values (maps, lists, scalars) with some parts changed: structure-aware mutation of configurations and answers. */
import { integer, percent, pick, type Random } from "./random.js";

type Container = Record<string, unknown> | unknown[];

/** Scalars where another kind is wanted, at limits, and beyond them. */
const ODD: readonly unknown[] = [
  ...[null, true, false, 0, -1, 1.5, 1e21, 2 ** 53, 65_536, Number.NaN, Number.POSITIVE_INFINITY],
  ...["", " ", "0", "5s", "10ms", "999h", "-1s", "1KiB", "64KiB", "0660", "127.0.0.1:0", "[::]:443", "*:443"],
  ...["10.0.0.0/8", "::/0", "10.0.0.1/8", "a.example", "*.a.example", "*", ".", "é.example", "a..b", "1.2.3.4"],
  ...["@", "@x", "/", "./", "run/", "/run/x.sock", "x\0y", "x\ny", "\u009b31m", "\u2028", "\ud800", "__proto__"],
  ...[
    "constructor",
    "https",
    "http",
    "sorry",
    "none",
    "tls",
    "datagram",
    "relay",
    "a".repeat(300),
    "[a-z]+",
    "(",
    "unix:/x",
  ],
];
const KEYS = [
  "",
  "handoff",
  "relay",
  "reject",
  "backend",
  "alpn",
  "access",
  "__proto__",
  "constructor",
  "a\nb",
  "default",
  "x",
];

/** A copy with `count` changes. Maps have no prototype other than Object's. */
export function changed(random: Random, value: unknown, count: number): unknown {
  const root = { root: structuredClone(value) };
  for (let i = 0; i < count; i++) change(random, root);
  return root.root;
}

function change(random: Random, root: Record<string, unknown>): void {
  const containers = containersIn(root);
  const container = pick(random, containers);
  const keys = Object.keys(container);
  const key = keys.length === 0 ? undefined : pick(random, keys);
  switch (integer(random, 0, 6)) {
    case 0:
    case 1:
      if (key !== undefined) set(container, key, pick(random, ODD));
      return;
    case 2:
      if (key !== undefined && container !== root) remove(container, key);
      return;
    case 3:
      if (container !== root) set(container, newKey(random, container), pick(random, ODD));
      return;
    case 4: {
      // A part of elsewhere, by a copy: no circles.
      const other = pick(random, containers);
      const part = structuredClone(pick(random, [other, ...Object.values(other)]));
      if (key !== undefined && JSON.stringify(part).length < 20_000) set(container, key, part);
      return;
    }
    case 5:
      if (key !== undefined)
        set(container, key, percent(random, 50) ? [container[key as never]] : { x: container[key as never] });
      return;
    default:
      if (key === undefined || container === root) return;
      set(container, newKey(random, container), structuredClone(container[key as never]));
      if (percent(random, 50)) remove(container, key);
  }
}

function containersIn(value: unknown): Container[] {
  if (typeof value !== "object" || value === null) return [];
  return [value as Container, ...Object.values(value).flatMap(containersIn)];
}

function newKey(random: Random, container: Container): string {
  return Array.isArray(container) ? String(container.length) : pick(random, KEYS);
}

/** "__proto__" as a key like others. */
function set(container: Container, key: string, value: unknown): void {
  Object.defineProperty(container, key, { value, writable: true, enumerable: true, configurable: true });
}

function remove(container: Container, key: string): void {
  if (Array.isArray(container)) container.splice(Number(key), 1);
  else delete container[key];
}
