/** Messages in an order that no peer should send: acknowledgements and refusals to a door, handoffs to an instance. */
import { Channel, ChannelState } from "../../../src/door/channel.js";
import type { HandoffBackendSettings } from "../../../src/door/settings.js";
import { InstanceChannel, REVOKED, TAKEN_IN, Verdict } from "../../../src/handoff/instance-channel.js";
import { MAX_WINDOW, MessageType, RefuseReason } from "../../../src/handoff/layout.js";
import { Message } from "../../../src/handoff/message.js";
import { check, same } from "../check.js";
import { integer, percent, pick, type Random, randomBytes, randomOf, seededRandom } from "../random.js";

const settings = { name: "app" } as HandoffBackendSettings;
const message = new Message();

/** Mostly near to what would be right. */
function sequenceNear(random: Random, right: number): number {
  const step = percent(random, 80) ? integer(random, -3, 3) : pick(random, [-129, 128, 0x7fffffff, -0x80000000]);
  return percent(random, 90) ? (right + step) >>> 0 : integer(random, 0, 0xffffffff);
}

/** Each slot leaves the door's side once: owned, refused or taken back. */
function fuzzDoor(random: Random): void {
  const first = pick(random, [1, 0xfffffff0, integer(random, 0, 0xffffffff)]);
  const channel = new Channel(0, 0, settings, "/a.sock", "app /a.sock", first);
  channel.state = ChannelState.READY;
  channel.window = integer(random, 1, MAX_WINDOW);
  const inside = new Set<number>();
  let next = 0;
  const leave = (slot: number) => check(inside.delete(slot), "a slot leaves that was inside", slot);
  for (let steps = 200; steps > 0; steps--) {
    const last = (first + next - 1) >>> 0;
    switch (integer(random, 0, 3)) {
      case 0:
        if (!channel.takes(0)) break;
        channel.sent(next);
        inside.add(next++);
        break;
      case 1: {
        const before = inside.size;
        const wrong = channel.acknowledge(sequenceNear(random, pick(random, [last, channel.acknowledged])), leave);
        if (wrong !== undefined) same(inside.size, before, "a violation takes nothing");
        break;
      }
      case 2: {
        const refused = channel.refuse(sequenceNear(random, pick(random, [last, channel.acknowledged])));
        if (typeof refused === "number") leave(refused);
        break;
      }
      default:
        if (!percent(random, 3)) break;
        channel.takeBack(leave);
        same(inside.size, 0, "all are taken back");
    }
    same(channel.outstanding, inside.size, "what is outstanding");
    check(inside.size <= channel.window, "no more than the window is outstanding", inside.size);
    check(channel.oldest === -1 || inside.has(channel.oldest), "the oldest is outstanding", channel.oldest);
  }
}

/** Each descriptor leaves the instance's side once. */
function fuzzInstance(random: Random): void {
  const window = integer(random, 1, MAX_WINDOW);
  const channel = new InstanceChannel(window);
  const inside = new Set<number>();
  let sequence = integer(random, 0, 0xffffffff);
  let descriptor = 0;
  const leave = ({ descriptor: which }: { descriptor: number }) =>
    check(inside.delete(which), "a descriptor leaves that was inside", which);
  for (let steps = 200; steps > 0; steps--) {
    if (percent(random, 60)) {
      message.type = percent(random, 90) ? MessageType.HANDOFF : integer(random, 0, 8);
      const right = message.type === MessageType.HANDOFF ? sequence + 1 : (channel.acknowledged ?? sequence);
      message.sequence = percent(random, 95) ? right >>> 0 : sequenceNear(random, right);
      const verdict = pick(random, [Verdict.TAKE, Verdict.TAKE, Verdict.BURY, ...Object.values(RefuseReason)]);
      const step = channel.receive(message, verdict, descriptor, "");
      if (step !== TAKEN_IN) {
        check(step === REVOKED || step.length < 200, "a violation in a short line", step);
        break;
      }
      same(message.type, MessageType.HANDOFF, "only a HANDOFF is taken in");
      sequence = message.sequence;
      inside.add(descriptor++);
    } else {
      for (let each = channel.nextRefusal; each !== undefined && percent(random, 90); each = channel.nextRefusal) {
        channel.refused(each);
        leave(each);
      }
      if (channel.nextRefusal === undefined) for (const each of channel.acknowledge()) leave(each);
      if (percent(random, 10)) channel.refuseRest(RefuseReason.DRAINING);
    }
    same(channel.size, inside.size, "what is unsettled");
    check(inside.size <= window, "no more than the window is unsettled", inside.size);
  }
  for (const each of channel.takeAll()) leave(each);
  same(inside.size, 0, "everything has left");
}

export function fuzz(data: Uint8Array): void {
  const random = randomOf(data);
  if (percent(random, 50)) fuzzDoor(random);
  else fuzzInstance(random);
}

export const seeds = (): Uint8Array[] => Array.from({ length: 12 }, (_, seed) => randomBytes(seededRandom(seed), 300));
