import { expect, it } from "vitest";
import { Connections, Mark, NOBODY, SlotList, State } from "../../src/door/connections.js";

it("a slot is used again with another generation, and forgets who refused", () => {
  const connections = new Connections(2);
  const slot = connections.take(7);
  connections.refusedBy(slot, "a", "a 1");
  connections.refusedBy(slot, "b", "b 1");
  expect([...connections.refusals.get(slot)!.values()]).toEqual(["a 1", "b 1"]);
  expect(connections.release(slot)).toBe(7);
  expect(connections.refusals.size).toBe(0);
  expect(connections.state[slot]).toBe(State.FREE);
  expect(connections.take(8)).toBe(slot);
  expect(connections.generation[slot]).toBe(1);
  expect(connections.marks[slot]! & Mark.REFUSED).toBe(0);
});

it("of an instance that refuses again and again only the last time is kept", () => {
  const connections = new Connections(1);
  const slot = connections.take(7);
  for (let time = 1; time <= 1000; time++) connections.refusedBy(slot, "a", `a 1.${time}`);
  expect([...connections.refusals.get(slot)!]).toEqual([["a", "a 1.1000"]]);
});

it("gives out each slot once until it is released", () => {
  const connections = new Connections(5);
  const slots = [1, 2, 3, 4, 5].map((descriptor) => connections.take(descriptor));
  expect(new Set(slots).size).toBe(5);
  expect(connections.room).toBe(0);
  for (const slot of [slots[3]!, slots[0]!]) connections.release(slot);
  expect(new Set([connections.take(6), connections.take(7)])).toEqual(new Set([slots[3], slots[0]]));
});

it("a list by time has those that are due first at its head, and of two that are due at once the one that came first", () => {
  const connections = new Connections(5);
  const list = new SlotList(connections);
  for (const [slot, due] of [30, 10, 20, 10, 40].entries()) {
    connections.deadline[slot] = due;
    list.insert(slot, connections.deadline);
  }
  const slots: number[] = [];
  for (let slot = list.head; slot !== NOBODY; slot = connections.next[slot]!) slots.push(slot);
  expect(slots).toEqual([1, 3, 2, 0, 4]);
  for (const slot of [2, 1, 4, 3, 0]) list.remove(slot);
  expect([list.head, list.tail, list.count]).toEqual([NOBODY, NOBODY, 0]);
});

it("a list keeps its order when slots leave from anywhere", () => {
  const connections = new Connections(4);
  const list = new SlotList(connections);
  const read = () => {
    const slots: number[] = [];
    for (let slot = list.head; slot !== NOBODY; slot = connections.next[slot]!) slots.push(slot);
    return slots;
  };
  for (const slot of [3, 1, 2, 0]) list.push(slot);
  list.remove(1);
  expect(read()).toEqual([3, 2, 0]);
  list.remove(3);
  list.remove(0);
  expect(read()).toEqual([2]);
  list.push(1);
  expect(read()).toEqual([2, 1]);
  list.unshift(3);
  expect(read()).toEqual([3, 2, 1]);
  list.remove(3);
  list.remove(2);
  list.remove(1);
  expect([list.head, list.tail, list.count]).toEqual([NOBODY, NOBODY, 0]);
  list.unshift(2);
  list.push(3);
  expect(read()).toEqual([2, 3]);
});

it("marks are different bits", () => {
  const bits = Object.values(Mark).map((bit) => Math.log2(bit));
  expect(bits.every(Number.isInteger)).toBe(true);
  expect(new Set(bits).size).toBe(bits.length);
  expect(Math.max(...bits)).toBeLessThan(8 * new Connections(1).marks.BYTES_PER_ELEMENT);
});
