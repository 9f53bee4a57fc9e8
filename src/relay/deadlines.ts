/**
 * When slots are due: lists of equal durations, each in order by itself, so that setting and clearing cost the same
 * however many there are. There are few different durations: those of the configuration.
 */

export const NOBODY = -1;

class DurationList {
  duration: number;
  head: number = NOBODY;
  tail: number = NOBODY;

  constructor(duration: number) {
    this.duration = duration;
  }
}

export class Deadlines {
  private readonly next: Int32Array;
  private readonly previous: Int32Array;
  private readonly due: Float64Array;
  /** Index of the list that a slot is in. */
  private readonly list: Int16Array;
  private readonly lists: DurationList[] = [];

  constructor(capacity: number) {
    this.next = new Int32Array(capacity);
    this.previous = new Int32Array(capacity);
    this.due = new Float64Array(capacity);
    this.list = new Int16Array(capacity).fill(NOBODY);
  }

  /** The slot is due `duration` after `now`, in place of what was set. `now` never goes back. */
  set(slot: number, now: number, duration: number): void {
    this.clear(slot);
    const index = this.listFor(duration);
    const list = this.lists[index]!;
    this.list[slot] = index;
    this.due[slot] = now + duration;
    this.next[slot] = NOBODY;
    this.previous[slot] = list.tail;
    if (list.tail === NOBODY) list.head = slot;
    else this.next[list.tail] = slot;
    list.tail = slot;
  }

  clear(slot: number): void {
    const index = this.list[slot]!;
    if (index === NOBODY) return;
    const list = this.lists[index]!;
    const before = this.previous[slot]!;
    const after = this.next[slot]!;
    if (before === NOBODY) list.head = after;
    else this.next[before] = after;
    if (after === NOBODY) list.tail = before;
    else this.previous[after] = before;
    this.list[slot] = NOBODY;
  }

  /** The duration that was set for a slot that is due some time. */
  duration(slot: number): number {
    return this.lists[this.list[slot]!]!.duration;
  }

  /** A slot that is due; it stays so until it is cleared or set again. NOBODY: none is. */
  expired(now: number): number {
    for (const { head } of this.lists) if (head !== NOBODY && this.due[head]! <= now) return head;
    return NOBODY;
  }

  /** When the next one is due; Infinity: none is ever. */
  get dueAt(): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const { head } of this.lists) if (head !== NOBODY) earliest = Math.min(earliest, this.due[head]!);
    return earliest;
  }

  private listFor(duration: number): number {
    let empty = NOBODY;
    for (let i = 0; i < this.lists.length; i++) {
      const list = this.lists[i]!;
      if (list.duration === duration) return i;
      if (list.head === NOBODY) empty = i;
    }
    // Reloads change durations: a list that nobody is in serves another one.
    if (empty === NOBODY) return this.lists.push(new DurationList(duration)) - 1;
    this.lists[empty]!.duration = duration;
    return empty;
  }
}
