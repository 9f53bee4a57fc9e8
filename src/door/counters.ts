/**
 * Counters of one worker in shared memory: 32 bits each, one writer (the worker), wrapping. The control plane adds up
 * the differences.
 */

export const counterNames = [
  /** Connections accepted. */
  "accepted",
  /** Handoffs sent, those sent again included. */
  "handed_over",
  /** Handoffs acknowledged: the connection is the instance's. Of datagrams: sent. */
  "acknowledged",
  /** Handoffs that an instance refused. */
  "refused_by_instance",
  /** Connections taken back from a dead, revoked or refusing instance, whole, and placed again. */
  "redelivered",
  /** Connections taken back from an instance that had read from them or written to them: closed. */
  "lost_after_read",
  /** Times that a connection was held for want of an instance. */
  "held",
  /** Connections that went to their backend's fallback. */
  "fallback",
  /** Clients that closed before they were handed over. */
  "client_gone",
  /** Hellos, or heads of requests, not complete in time. */
  "hello_timeout",
  /** Hellos that are malformed. */
  "hello_invalid",
  /** PROXY headers that were read. */
  "proxied",
  /** Connections of load balancers whose PROXY header is malformed, not complete, or not there. */
  "proxy_header_invalid",
  /** Requests to an http listener that are malformed, or too long. */
  "http_invalid",
  /** Requests to an http listener that the door redirected to https. */
  "redirected",
  /** Connections whose first bytes are not TLS, and that no route takes. */
  "not_tls",
  /** Connections that went to the backend for clients who have sent nothing. */
  "silent",
  /** Connections without a server name or host, or with one that no route takes. */
  "no_route",
  /** Connections refused by a backend that is `reject:`. */
  "rejected",
  /** Times that a rule of a route decided where a connection goes. */
  "by_rule",
  /** Times that a pattern did. */
  "by_pattern",
  /** Connections refused since the access list of their route shuts the client out. */
  "access_denied",
  /** Connections refused since their hold ended and there was no fallback. */
  "hold_timeout",
  /** Connections refused since too many were held. */
  "hold_full",
  /** Connections refused since their hello is longer than their datagram backend takes, and there was no fallback. */
  "hello_too_long",
  /** Connections refused since their hello was read for a datagram that could not be sent, and their route leads to no other. */
  "hello_spent",
  /** Connections closed by the deadline of a shutdown. */
  "abandoned",
  /** Upgrade: connections that waited or were held, given to the process that takes over. */
  "passed_on",
  /** Upgrade: connections taken over from the process before. */
  "adopted",
  /** Connections closed because of a defect in the door itself. */
  "defect",
  /** Channels opened (READY received). */
  "channels_ready",
  /** Channels revoked: the instance did not acknowledge in time, or broke the protocol. */
  "channels_revoked",
  /** Channels closed for a violation of the protocol. */
  "violations",
  /** Times that accept was rested for want of descriptors or memory. */
  "accept_rested",
  /** Connections closed since too many waited for their hello. */
  "waiting_full",
  /** Connections closed since too many of one client waited for their hello. */
  "client_full",
  /** Connections reset since their client came faster than it may. */
  "rate_limited",
  /** Closes that would have lingered and were left to a thread of their own. */
  "lingering_closes",
] as const;

export type CounterName = (typeof counterNames)[number];

/** Index of each counter in the array. */
export const Counter = Object.fromEntries(counterNames.map((name, index) => [name, index])) as Readonly<
  Record<CounterName, number>
>;

/** Shared memory for one worker's counters. */
export function createCounters(): SharedArrayBuffer {
  return new SharedArrayBuffer(counterNames.length * Uint32Array.BYTES_PER_ELEMENT);
}

/** Sums over workers, by name. Exact while each counter is below 2^32. */
export function sumCounters(workers: readonly SharedArrayBuffer[]): Record<CounterName, number> {
  const sums = Object.fromEntries(counterNames.map((name) => [name, 0])) as Record<CounterName, number>;
  for (const memory of workers) {
    const values = new Uint32Array(memory);
    counterNames.forEach((name, index) => {
      sums[name] += Atomics.load(values, index);
    });
  }
  return sums;
}
