/** Which faults happen, in which order: from the seed alone. */
import { integer, percent, pick, type Random, sequence, shuffled } from "./random.js";

export const faultKinds = [
  "kill an instance",
  "stop an instance",
  "stop an instance and kill it",
  "drain an instance",
  "overload an instance",
  "take an instance's descriptors",
  "stop all instances",
  "kill the door",
  "stop the door",
  "fill the accept queue",
  "stop a worker",
  "restart the door",
  "upgrade the door",
  "kill the new door",
  "kill the old door",
  "take the door's descriptors",
  "reload",
  "tear the configuration",
  "break the configuration",
  "kill the relay",
  "stop the relay",
  "replace the relay",
  "set the clock",
] as const;
export type FaultKind = (typeof faultKinds)[number];

export type Secondary = "upgrade" | "reload";

export interface Fault {
  readonly kind: FaultKind;
  /** How long it lasts, more or less. */
  readonly milliseconds: number;
  /** Which of several, from 0 to 999. */
  readonly choice: number;
  /** What comes beside it, so many milliseconds after (or, below 0, before) its beginning. */
  readonly secondary?: { readonly what: Secondary; readonly after: number };
}

/** An upgrade, or a reload, goes on already; or what it would find is wrong. */
const without: Readonly<Record<Secondary, readonly FaultKind[]>> = {
  upgrade: [
    "upgrade the door",
    "kill the new door",
    "kill the old door",
    "tear the configuration",
    "break the configuration",
  ],
  reload: ["reload", "tear the configuration", "break the configuration"],
};

/** What comes beside these may fail. */
const disturbing: readonly FaultKind[] = [
  "kill the door",
  "restart the door",
  "upgrade the door",
  "kill the new door",
  "kill the old door",
  "take the door's descriptors",
];

export function mayFail({ kind }: Fault): boolean {
  return disturbing.includes(kind);
}

/** Each kind with nothing, with an upgrade, and with a reload beside it, in some order; then the same in another one, and so on. */
export function scheduleOf(seed: number, count: number, kinds: readonly FaultKind[] = faultKinds): Fault[] {
  const random = sequence(seed, 2);
  const faults: Fault[] = [];
  while (faults.length < count) faults.push(...shuffled(random, everyCombination(random, kinds)));
  return faults.slice(0, count);
}

function everyCombination(random: Random, kinds: readonly FaultKind[]): Fault[] {
  return kinds.flatMap((kind) => {
    const whats = [undefined, "upgrade", "reload"] as const;
    const fitting = whats.filter((what) => what === undefined || !without[what].includes(kind));
    return fitting.map((what) => faultOf(random, kind, what));
  });
}

/** Short ones are over before anybody has noticed; others last longer than an acknowledgement may take. */
function faultOf(random: Random, kind: FaultKind, what: Secondary | undefined): Fault {
  const milliseconds = percent(random, 40) ? integer(random, 5, 100) : integer(random, 100, 1000);
  const choice = integer(random, 0, 999);
  if (what === undefined) return { kind, milliseconds, choice };
  const after = pick(random, [integer(random, -400, 0), integer(random, 0, milliseconds)]);
  return { kind, milliseconds, choice, secondary: { what, after } };
}
