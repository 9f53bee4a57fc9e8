/**
 * PROXY headers: connections of listeners behind load balancers begin with one, from the balancers' addresses. Exactly the
 * header is read from the socket; what follows stays there unread. From then on the connection's client is who the header
 * told, for limits, routes, logs and the backend alike.
 */
import { ADDRESS_BYTES } from "../addresses.js";
import { type Loop, native } from "../native/addon.js";
import { type HeaderStatus, type InvalidHeaderReason, ProxyHeaderReader } from "../proxy-protocol/index.js";
import type { AddressBlocks } from "./address-blocks.js";
import { type Connections, Mark } from "./connections.js";
import type { Adopted, DoorListenerSettings } from "./settings.js";

const { HEADER_EXPECTED, HEADER_BEGUN } = Mark;

export class ProxyIntake {
  private readonly loop: Loop;
  private readonly connections: Connections;
  private readonly reader: ProxyHeaderReader = new ProxyHeaderReader();
  /** By listener: from which addresses a header comes; undefined: from none. */
  private balancers: readonly (AddressBlocks | undefined)[] = [];

  constructor(loop: Loop, connections: Connections) {
    this.loop = loop;
    this.connections = connections;
  }

  configure(listeners: readonly DoorListenerSettings[] = []): void {
    this.balancers = listeners.map(({ balancers }) => balancers);
  }

  /** Whose connections by this listener begin with a header; undefined: nobody's. */
  of(listener: number): AddressBlocks | undefined {
    return this.balancers[listener];
  }

  /** PARTIAL: bytes in all, before which reading again is of no use. */
  get needed(): number {
    return this.reader.needed;
  }

  /** INVALID: why. */
  get reason(): InvalidHeaderReason {
    return this.reader.reason;
  }

  /** Reads the header that the peeked bytes begin with, of which there are `length`. */
  read(slot: number, start: number, length: number): HeaderStatus {
    if (length > 0) this.connections.marks[slot]! |= HEADER_BEGUN;
    return this.reader.read(this.loop.peekBuffer, start, start + length);
  }

  /** Takes the header that was just read out of the socket, and its word for who the client is. Returns false if the client is gone. */
  take(slot: number): boolean {
    const { connections, reader } = this;
    if (native.discard(connections.descriptor[slot]!, reader.length)) return false;
    connections.marks[slot]! &= ~(HEADER_EXPECTED | HEADER_BEGUN);
    connections.consumed[slot] = reader.length;
    const { address, proxy, server } = connections;
    const at = slot * ADDRESS_BYTES;
    if (!reader.isTold) {
      proxy[at] = server[at] = 0;
      return true;
    }
    for (let i = 0; i < ADDRESS_BYTES; i++) {
      proxy[at + i] = address[at + i]!;
      address[at + i] = reader.source[i]!;
      server[at + i] = reader.destination[i]!;
    }
    return true;
  }

  /** Upgrade: what the predecessor knows about a connection whose own peer is in its slot. */
  adopt(slot: number, { proxied }: Adopted): void {
    if (proxied === undefined) return;
    const { connections } = this;
    const { address, proxy, server } = connections;
    const at = slot * ADDRESS_BYTES;
    if (proxied.isHeaderExpected) connections.marks[slot]! |= HEADER_EXPECTED;
    connections.consumed[slot] = proxied.consumed;
    proxy[at] = server[at] = 0;
    if (proxied.client[0] === 0) return;
    proxy.set(address.subarray(at, at + ADDRESS_BYTES), at);
    address.set(proxied.client, at);
    server.set(proxied.server, at);
  }
}
