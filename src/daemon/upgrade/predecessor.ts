/**
 * The channel from a worker of the process before: this process is an instance there, and what it is handed are
 * connections that wait for their hello or are held.
 */

import { ADDRESS_BYTES } from "../../addresses.js";
import type { Adopted } from "../../door/settings.js";
import { Flag, MAX_WINDOW } from "../../handoff/layout.js";
import { Message, unpackAddress } from "../../handoff/message.js";
import { ReceiverChannel } from "../../handoff/receiver-channel.js";
import { native } from "../../native/addon.js";

export type TakenOver = Adopted;

/** The window need not be asked for again: there is always room. */
const RETRY = 50;

export class Predecessor {
  private readonly channel: ReceiverChannel;
  private readonly owned: TakenOver[] = [];
  private ended: boolean = false;

  constructor(descriptor: number, take: (connection: TakenOver) => void) {
    const { owned } = this;
    this.channel = new ReceiverChannel(
      descriptor,
      native.peerCredentials(descriptor),
      {
        sink: {
          open: () => 0,
          room: () => Number.POSITIVE_INFINITY,
          closed: () => false,
          own(socket, text) {
            owned.push(takenOver(socket, text));
            return true;
          },
          deliver: () => take(owned.shift()!),
          drained() {},
        },
        window: MAX_WINDOW,
        weight: 1,
        greeted() {},
        refused() {},
        warn: (error) => process.emitWarning(error.message, { type: "SniHandoffWarning", code: error.code }),
        restless: () => this.again(),
        ended: () => {
          this.ended = true;
        },
      },
      { received: 0, dead: 0, refused: 0, revoked: 0 },
    );
    this.channel.unref();
  }

  /** Says READY: from now on connections come. */
  start(): void {
    this.channel.start();
  }

  /** Something could not be sent. */
  private again(): void {
    setTimeout(() => {
      if (!this.ended && this.channel.report(false) !== 0) this.again();
    }, RETRY).unref();
  }
}

function takenOver(descriptor: number, text: string): TakenOver {
  const bytes = Buffer.from(text, "latin1");
  const message = new Message();
  message.decode(bytes, 0, bytes.length);
  return {
    descriptor,
    idLow: message.connectionIdLow,
    idHigh: message.connectionIdHigh,
    acceptedAtLow: message.acceptedAtLow,
    acceptedAtHigh: message.acceptedAtHigh,
    isHttp: (message.flags & Flag.HTTP) !== 0,
    deadline: (message.helloDeadlineHigh * 2 ** 32 + message.helloDeadlineLow) / 1e6,
    proxied: proxied(bytes, message),
  };
}

function proxied(bytes: Uint8Array, message: Message): Adopted["proxied"] {
  const { consumed, clientAddressStart, clientAddressLength, serverAddressStart, serverAddressLength } = message;
  const isHeaderExpected = (message.flags & Flag.PROXY_EXPECTED) !== 0;
  if (consumed === 0 && !isHeaderExpected) return undefined;
  const client = new Uint8Array(ADDRESS_BYTES);
  const server = new Uint8Array(ADDRESS_BYTES);
  unpackAddress(bytes, clientAddressStart, clientAddressLength, client, 0);
  unpackAddress(bytes, serverAddressStart, serverAddressLength, server, 0);
  return { isHeaderExpected, consumed, client, server };
}
