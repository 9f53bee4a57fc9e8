/**
 * What an epoll event carries: a tag, and an index. The tag's low 8 bits say what kind of descriptor it is, the upper
 * 24 which generation of the index: an event may outlive the descriptor that it is about within one batch.
 */

export const PollKind = { LISTENER: 1, CHANNEL: 2, CONNECTION: 3 } as const;

export function channelTag(generation: number): number {
  return (PollKind.CHANNEL | (generation << 8)) >>> 0;
}

export function connectionTag(generation: number): number {
  return (PollKind.CONNECTION | (generation << 8)) >>> 0;
}

/** A listener's generation never changes. */
export const listenerTag: number = PollKind.LISTENER;
