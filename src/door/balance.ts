/** Which instance of a backend gets the next connection. */
import type { Channel } from "./channel.js";
import type { Balance } from "./settings.js";

/**
 * Chooses among channels that take a connection now; undefined if none does. `avoid` are the instances that
 * refused this one, by their places.
 *
 * round-robin: in turn, in proportion to the weights, evenly interleaved (each choice gives every candidate its weight
 * in credit and takes the sum from the winner). least-connections: the fewest open and undelivered connections a unit
 * of weight; ties go in turn.
 */
export function choose(
  channels: readonly Channel[],
  balance: Balance,
  now: number,
  avoid: ReadonlyMap<string, string> | undefined,
): Channel | undefined {
  let best: Channel | undefined;
  let bestLoad = 0;
  let sum = 0;
  for (let i = 0; i < channels.length; i++) {
    const channel = channels[i]!;
    if (!mayTake(channel, now, avoid)) continue;
    channel.credit += channel.weight;
    sum += channel.weight;
    if (best === undefined) {
      best = channel;
      bestLoad = load(channel);
    } else if (balance === "round-robin") {
      if (channel.credit > best.credit) best = channel;
    } else {
      const candidate = load(channel);
      if (candidate < bestLoad || (candidate === bestLoad && channel.credit > best.credit)) {
        best = channel;
        bestLoad = candidate;
      }
    }
  }
  if (best !== undefined) best.credit -= sum;
  return best;
}

/** Whether a connection that `avoid` have refused can be sent there now. */
export function mayTake(channel: Channel, now: number, avoid: ReadonlyMap<string, string> | undefined): boolean {
  return channel.takes(now) && avoid?.get(channel.key) !== channel.instance;
}

/** Connections a unit of weight, those on their way included. */
function load(channel: Channel): number {
  return channel.load / channel.weight;
}
