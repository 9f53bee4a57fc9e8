/**
 * What an epoll event carries: a tag, and an index. The tag's low 8 bits say what kind of descriptor it is, the upper 24
 * which generation of the index.
 */
import { EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from "../native/addon.js";

// Bit 31 (EPOLLET) makes JavaScript's | negative.
/** Of a client from which bytes come. */
export const READING_EVENTS: number = (EPOLLIN | EPOLLRDHUP | EPOLLET) >>> 0;
/** Of both sockets of a connection. An edge comes with whatever is there when the member is added, or changed. */
export const RELAYED_EVENTS: number = (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) >>> 0;
/** Of a TLS client that waits for a target: its end is the end of it. Of others, who may have sent all that they will. */
export const WAITING_EVENTS: number = (EPOLLRDHUP | EPOLLET) >>> 0;
export const WAITING_PLAIN_EVENTS: number = EPOLLET >>> 0;
export const PARTING_EVENTS: number = (EPOLLIN | EPOLLRDHUP) >>> 0;

export const PollKind = {
  /** The client of a slot. */
  CLIENT: 1,
  /** The target of a slot, or the first of its addresses that is tried. */
  TARGET: 2,
  /** One more address that is tried: a row of `Attempts`. */
  ATTEMPT: 3,
} as const;

export function pollTag(kind: number, generation: number): number {
  return (kind | (generation << 8)) >>> 0;
}
