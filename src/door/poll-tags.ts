/**
 * What an epoll event carries: a tag, and an index. The tag's low 8 bits say what kind of descriptor it is, the upper
 * 24 which generation of the index: an event may outlive the descriptor that it is about within one batch.
 */

import { EPOLLET, EPOLLEXCLUSIVE, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from "../native/addon.js";

// Bit 31 (EPOLLET) makes JavaScript's | negative.
/** Level-triggered: with EPOLLET a partly drained backlog would be stranded (epoll(7)). */
export const LISTENER_EVENTS: number = (EPOLLIN | EPOLLEXCLUSIVE) >>> 0;
/** Edge-triggered: peeking leaves the bytes, and a level would report them for ever. */
export const WAITING_EVENTS: number = (EPOLLIN | EPOLLRDHUP | EPOLLET) >>> 0;
export const HELD_EVENTS: number = (EPOLLRDHUP | EPOLLET) >>> 0;
/** Edge-triggered: a receiver of datagrams has room again. */
export const ROOM_EVENTS: number = (EPOLLOUT | EPOLLET) >>> 0;
export const PARTING_EVENTS: number = (EPOLLIN | EPOLLRDHUP) >>> 0;

export const PollKind = { LISTENER: 1, CHANNEL: 2, CONNECTION: 3, DATAGRAM: 4 } as const;

export function channelTag(generation: number): number {
  return (PollKind.CHANNEL | (generation << 8)) >>> 0;
}

export function connectionTag(generation: number): number {
  return (PollKind.CONNECTION | (generation << 8)) >>> 0;
}

export function datagramTag(generation: number): number {
  return (PollKind.DATAGRAM | (generation << 8)) >>> 0;
}

/** A listener's generation never changes. */
export const listenerTag: number = PollKind.LISTENER;
