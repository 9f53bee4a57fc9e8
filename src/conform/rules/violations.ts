/** Messages that break the protocol. */
import { FieldType, MessageType } from "../../handoff/layout.js";
import { type Field, messageBytes, neededFields } from "../bytes.js";
import { Broken, type Rule } from "../rule.js";
import type { Stage } from "../stage.js";

/** On this message, which comes with a connection, the receiver closes its channel, and serves the connection not. */
async function closesOn(stage: Stage, bytes: Uint8Array, descriptors = 1): Promise<void> {
  const channel = await stage.channel();
  const connection = await stage.connection();
  const errno = channel.send(bytes, descriptors === 0 ? [] : [connection.descriptor]);
  if (errno !== 0) throw new Broken("room for a message", `errno ${errno}`);
  await channel.end();
  if (descriptors > 0) await stage.leftAlone(connection);
}

const fields: Field[] = neededFields(1);
const violation = (
  name: string,
  where: string,
  what: string,
  remedy: string,
  messages: readonly Uint8Array[],
): Rule => ({
  name,
  where,
  says: `${what} is a violation: the channel is closed, and the connection not served`,
  remedy,
  async run(stage) {
    for (const bytes of messages) await closesOn(stage, bytes);
  },
});

const overrunning = messageBytes(fields, { sequence: 1 });
overrunning.writeUInt16LE(5, overrunning.length - 6);

export const violationRules: readonly Rule[] = [
  violation("wrong-version", "Messages", "a message of another version", "compare byte 0 with 1", [
    messageBytes(fields, { sequence: 1, version: 2 }),
    messageBytes(fields, { sequence: 1, version: 0 }),
  ]),
  violation("unknown-type", "Unknown", "a message of an unknown type", "take HANDOFF (2) and REVOKE (5), no other", [
    messageBytes([], { type: 7 }),
    messageBytes(fields, { sequence: 1, type: 99 }),
  ]),
  violation(
    "instance-type",
    "Messages",
    "a message that only receivers send",
    "take HANDOFF (2) and REVOKE (5), no other",
    [messageBytes([], { type: MessageType.ACK, sequence: 1 }), messageBytes([], { type: MessageType.DRAIN })],
  ),
  violation("short-message", "Messages", "a record shorter than a header", "check for at least 8 bytes first", [
    messageBytes([]).subarray(0, 7),
    Buffer.from([1]),
  ]),
  violation(
    "lying-length",
    "Messages",
    "a stated length that is not the record's",
    "compare the header's length with what recvmsg(2) returned",
    [-1, 1, 1000].map((by) => {
      const bytes = messageBytes(fields, { sequence: 1 });
      return messageBytes(fields, { sequence: 1, length: bytes.length + by });
    }),
  ),
  violation(
    "long-message",
    "Messages",
    "a message of more than 1024 bytes",
    "read into a buffer of more than 1024 bytes, or look at MSG_TRUNC",
    [messageBytes([...fields, [0x4000, Buffer.alloc(1024)]], { sequence: 1 })],
  ),
  violation(
    "field-overruns",
    "Messages",
    "a field that overruns its message",
    "check each field's length against what is left of the message",
    [overrunning, Buffer.concat([messageBytes(fields, { sequence: 1, length: 42 }), Buffer.alloc(2)])],
  ),
  violation("field-twice", "Messages", "a known field that comes twice", "remember which fields a message has had", [
    messageBytes([...fields, [FieldType.SERVER_NAME, Buffer.from("a")], [FieldType.SERVER_NAME, Buffer.from("b")]], {
      sequence: 1,
    }),
  ]),
  violation("field-size", "Messages", "a known field of a wrong size", "check the size of each field that is known", [
    messageBytes([...fields.slice(1), [FieldType.CONNECTION_ID, Buffer.alloc(4)]], { sequence: 1 }),
    messageBytes([...fields, [FieldType.SERVER_NAME, Buffer.alloc(0)]], { sequence: 1 }),
    messageBytes([...fields, [FieldType.CLIENT_ADDRESS, Buffer.alloc(7)]], { sequence: 1 }),
  ]),
  violation(
    "field-missing",
    "Messages",
    "a HANDOFF without CONNECTION_ID, ACCEPTED_AT or FLAGS",
    "demand the three fields that a HANDOFF needs",
    fields.map((_, index) => messageBytes(fields.toSpliced(index, 1), { sequence: 1 })),
  ),
  {
    name: "stray-descriptor",
    where: "Transport",
    says: "a descriptor beside anything but a HANDOFF is no connection: the channel is closed, and it is not served",
    remedy: "receive every message with room for descriptors, and close those that come where none should",
    async run(stage) {
      await closesOn(stage, messageBytes([], { type: MessageType.REVOKE }));
    },
  },
  {
    name: "window-exceeded",
    where: "Window",
    says: "a door that sends more than the window is a flood: what was acknowledged is served, the rest closed, no other channel harmed",
    remedy: "close the channel once more is unacknowledged than the window, or acknowledge it all",
    async run(stage) {
      const other = await stage.channel();
      const channel = await stage.channel();
      const connections = await stage.severalConnections(channel.window + 16);
      await stage.receiver.whileStopped(() => {
        for (const connection of connections) stage.hand(channel, connection);
      });
      await channel.wait(
        "each one acknowledged, or the channel closed",
        () => channel.unsettled === 0 || channel.ended,
      );
      const owned = connections.filter((connection) => channel.isAcknowledged(connection));
      await stage.answered(...owned);
      await stage.leftAlone(...connections.filter((connection) => !owned.includes(connection)));
      const later = await stage.connection();
      await other.acknowledged(stage.hand(other, later));
      await stage.answered(later);
    },
  },
  {
    name: "violation-drops",
    where: "Violations",
    says: "with the channel it had broken, what was not acknowledged there is closed, not served",
    remedy: "at a violation close the channel and all its descriptors whose ACK was not sent",
    async run(stage) {
      const channel = await stage.channel();
      const [before, after] = await stage.severalConnections(2);
      await stage.receiver.whileStopped(() => {
        stage.hand(channel, before!);
        channel.send(messageBytes([], { type: 99 }));
        stage.hand(channel, after!);
      });
      await channel.end();
      await stage.leftAlone(after!);
      if (channel.isAcknowledged(before!)) await stage.answered(before!);
      else await stage.leftAlone(before!);
    },
  },
  {
    name: "violation-alone",
    where: "Violations",
    says: "a violation on one channel touches no other, and nothing that is owned",
    remedy: "close the one channel; neither end the process nor close other channels",
    async run(stage) {
      const other = await stage.channel();
      const [owned, later] = await Promise.all([stage.silentConnection(), stage.connection()]);
      const bad = await stage.channel();
      await bad.acknowledged(stage.hand(bad, owned));
      bad.send(messageBytes([], { type: 99 }));
      await bad.end();
      await other.acknowledged(stage.hand(other, later));
      owned.begin(stage.options.probe, stage.options.serverName);
      await stage.answered(later, owned);
    },
  },
];
