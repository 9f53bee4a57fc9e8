/** Raw bytes as a message of the handoff protocol, as each side reads it; and messages that are written and read again. */

import { ADDRESS_BYTES, readAddress } from "../../../src/addresses.js";
import { handoffInfo, handoffKey, toldClient } from "../../../src/backend/info.js";
import { MAX_MESSAGE_LENGTH, MAX_WINDOW, MessageType, RefuseReason } from "../../../src/handoff/layout.js";
import {
  encodeAck,
  encodeDrain,
  encodeHandoff,
  encodeReady,
  encodeRefuse,
  encodeRevoke,
  MAX_HANDOFF_LENGTH,
  Message,
  unpackAddress,
} from "../../../src/handoff/message.js";
import { guard } from "../../tls/guard.js";
import { CONTROL, check, hashOf, same, surrounded } from "../check.js";
import { integer, percent, pick, type Random, randomBytes, randomOf, seededRandom } from "../random.js";

type Read = Readonly<Record<string, unknown>> | string;

const shared = new Message();
const target = new Uint8Array(MAX_MESSAGE_LENGTH + 64);

/** What the message of its type tells; or what is wrong with it. */
function read(bytes: Uint8Array, start = 0, length = bytes.length, message = shared): Read {
  const wrong = message.decode(bytes, start, length);
  if (wrong !== undefined) return wrong;
  const { type, sequence } = message;
  const range = (from: number, count: number) =>
    count === 0 ? "" : Buffer.from(Array.from({ length: count }, (_, i) => bytes[from + i]!)).toString("hex");
  switch (type) {
    case MessageType.READY: {
      const { lowestVersion, highestVersion, window, weight, open } = message;
      return { type, lowestVersion, highestVersion, window, weight, open };
    }
    case MessageType.ACK:
      return { type, sequence, open: message.open };
    case MessageType.REFUSE:
      return { type, sequence, reason: message.reason };
    case MessageType.HANDOFF: {
      const { connectionIdLow, connectionIdHigh, acceptedAtLow, acceptedAtHigh, flags, consumed } = message;
      const { helloDeadlineLow, helloDeadlineHigh } = message;
      return {
        ...{ type, sequence, connectionIdLow, connectionIdHigh, acceptedAtLow, acceptedAtHigh, flags, consumed },
        ...{ helloDeadlineLow, helloDeadlineHigh },
        name: range(message.nameStart, message.nameLength),
        alpn: range(message.alpnStart, message.alpnLength),
        client: range(message.clientAddressStart, message.clientAddressLength),
        server: range(message.serverAddressStart, message.serverAddressLength),
      };
    }
    default:
      return { type, sequence };
  }
}

export function fuzz(data: Uint8Array): void {
  checkMessage(data);
  const random = randomOf(data);
  const length = write(random);
  const written = target.slice(0, length);
  const told = checkMessage(written);
  check(typeof told !== "string", "what this program writes is a message", told);
  written[integer(random, 0, length - 1)] = integer(random, 0, 255);
  checkMessage(written);
}

function checkMessage(bytes: Uint8Array): Read {
  const told = read(bytes);
  for (const filler of [0, 0xff]) {
    const { bytes: all, start, end } = surrounded(bytes, filler);
    same(read(all, start, end - start), told, `bytes of ${filler} around it change what is read`);
  }
  if (hashOf(bytes) % 8 === 0) {
    const guarded = guard(bytes);
    same(read(guarded.bytes, guarded.start, bytes.length), told, "a read outside of the bytes");
    same(read(bytes, 0, bytes.length, new Message()), told, "a message that is decoded remembers");
  }
  if (typeof told === "string") {
    // It goes into logs as it is.
    check(!CONTROL.test(told) && told.length <= 200, "a fault in one short line", told);
    return told;
  }
  const length = writeAgain(bytes);
  if (length > 0) same(read(target, 0, length), told, "written again");
  if (told.type === MessageType.HANDOFF) checkInfo(bytes, told);
  return told;
}

/** What an application is told, which reads the message as text. */
function checkInfo(bytes: Uint8Array, { name, client }: Readonly<Record<string, unknown>>): void {
  const text = Buffer.from(bytes).toString("latin1");
  const info = handoffInfo({ [handoffKey]: text } as never);
  same(Buffer.from(info?.serverName ?? "", "latin1").toString("hex"), name, "the name that an application is told");
  const packed = new Uint8Array(ADDRESS_BYTES);
  const address = Buffer.from(client as string, "hex");
  unpackAddress(address, 0, address.length, packed, 0);
  same(toldClient(text), readAddress(packed, 0), "the client that an application is told");
  same(info?.client, readAddress(packed, 0), "the client of its information");
}

/** The message that `shared` holds, of `bytes`. 0: it tells what this program never writes. */
function writeAgain(bytes: Uint8Array): number {
  shared.decode(bytes, 0, bytes.length);
  const { type, sequence, lowestVersion, highestVersion, window, weight, open, consumed } = shared;
  switch (type) {
    case MessageType.READY:
      if (lowestVersion !== 1 || highestVersion !== 1) return 0;
      return encodeReady(target, 0, { window, ...(weight >= 0 && { weight }), ...(open >= 0 && { open }) });
    case MessageType.ACK:
      return encodeAck(target, 0, sequence, open);
    case MessageType.REFUSE:
      return encodeRefuse(target, 0, sequence, shared.reason as RefuseReason);
    case MessageType.REVOKE:
      return encodeRevoke(target, 0, sequence);
    case MessageType.DRAIN:
      return sequence === 0 ? encodeDrain(target, 0) : 0;
    default: {
      if (consumed === 0 && shared.clientAddressLength + shared.serverAddressLength > 0) return 0;
      const client = new Uint8Array(ADDRESS_BYTES);
      const server = new Uint8Array(ADDRESS_BYTES);
      unpackAddress(bytes, shared.clientAddressStart, shared.clientAddressLength, client, 0);
      unpackAddress(bytes, shared.serverAddressStart, shared.serverAddressLength, server, 0);
      const ranges = { name: bytes, alpn: bytes, client, clientStart: 0, server, serverStart: 0 };
      // A Message has its facts on itself, so that a spread would leave none out.
      return encodeHandoff(target, 0, { ...shared, ...ranges });
    }
  }
}

function write(random: Random): number {
  const word = () => integer(random, 0, 0xffffffff);
  const type = pick(random, [MessageType.HANDOFF, MessageType.HANDOFF, ...Object.values(MessageType)]);
  switch (type) {
    case MessageType.READY: {
      const ready = { window: integer(random, 1, MAX_WINDOW), weight: integer(random, 1, 0xffff), open: word() };
      return encodeReady(target, 0, ready);
    }
    case MessageType.ACK:
      return encodeAck(target, 0, word(), percent(random, 50) ? word() : -1);
    case MessageType.REFUSE:
      return encodeRefuse(target, 0, word(), pick(random, Object.values(RefuseReason)));
    case MessageType.REVOKE:
      return encodeRevoke(target, 0, word());
    case MessageType.DRAIN:
      return encodeDrain(target, 0);
    default: {
      const text = randomBytes(random, 510);
      const address = () => Uint8Array.from([pick(random, [0, 4, 6]), 0, ...randomBytes(random, 18)]);
      const length = encodeHandoff(target, 0, {
        ...{ sequence: word(), connectionIdLow: word(), connectionIdHigh: word(), flags: word() },
        ...{ acceptedAtLow: word(), acceptedAtHigh: word() },
        ...(percent(random, 30) ? { helloDeadlineLow: word(), helloDeadlineHigh: word() } : NO_DEADLINE),
        ...{ name: text, nameStart: 0, nameLength: integer(random, 0, 255) },
        ...{ alpn: text, alpnStart: 255, alpnLength: integer(random, 0, 255) },
        consumed: percent(random, 30) ? word() : 0,
        ...{ client: address(), clientStart: 0, server: address(), serverStart: 0 },
      });
      check(length <= MAX_HANDOFF_LENGTH, "no HANDOFF is longer than the longest", length);
      return length;
    }
  }
}

const NO_DEADLINE = { helloDeadlineLow: 0, helloDeadlineHigh: 0 };

export const seeds = (): Uint8Array[] =>
  Array.from({ length: 24 }, (_, seed) => target.slice(0, write(seededRandom(seed))));
