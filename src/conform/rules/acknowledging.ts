/** Connections taken: ACK, its sequence numbers, and what fields a HANDOFF may have. */
import { FieldType } from "../../handoff/layout.js";
import { address, long, messageBytes, neededFields, word } from "../bytes.js";
import { Connections } from "../connection.js";
import { flagsOf } from "../probe.js";
import { Broken, type Rule, Skip } from "../rule.js";
import type { Stage } from "../stage.js";
import { pause } from "../wait.js";

/** A door gives an instance so long by default (acknowledgeTimeout). Milliseconds. */
const IN_TIME = 500;

/** Hands `count` over, the first under `first`, and has each acknowledged and answered. */
async function handSeveral(stage: Stage, count: number, first?: number): Promise<void> {
  const channel = await stage.channel(first);
  const connections = await stage.severalConnections(count);
  await channel.acknowledged(...connections.map((connection) => stage.hand(channel, connection)));
  await stage.answered(...connections);
}

/** One connection with these fields besides the needed ones is acknowledged and answered. */
async function handWith(stage: Stage, fields: Parameters<Stage["hand"]>[2]): Promise<void> {
  const channel = await stage.channel();
  const connection = await stage.connection();
  await channel.acknowledged(stage.hand(channel, connection, fields));
  await stage.answered(connection);
}

export const acknowledgingRules: readonly Rule[] = [
  {
    name: "ack",
    where: "Ownership",
    says: "a connection that is handed over is acknowledged by its sequence, and served",
    remedy: "send ACK with the sequence of the HANDOFF, then use the socket as one that accept(2) returned",
    run: (stage) => handSeveral(stage, 1),
  },
  {
    name: "ack-in-time",
    where: "Ownership",
    says: `an ACK comes before a door takes the connection back: ${IN_TIME} ms by default`,
    remedy: "acknowledge from the event loop, before the work that a connection makes",
    async run(stage) {
      const channel = await stage.channel();
      const times: number[] = [];
      for (let i = 0; i < 5; i++) {
        const handed = stage.hand(channel, await stage.connection());
        await channel.acknowledged(handed);
        times.push(handed.took);
      }
      const best = Math.min(...times);
      if (best > IN_TIME)
        throw new Broken(`an ACK within ${IN_TIME} ms`, `the quickest of 5 after ${best.toFixed()} ms`);
    },
  },
  {
    name: "ack-cumulative",
    where: "Ownership",
    says: "a whole window of connections, found in the queue at once, is acknowledged, and each one served",
    remedy: "read until EAGAIN, keep each descriptor, acknowledge the last one's sequence, then serve all of them",
    async run(stage) {
      const channel = await stage.channel();
      const connections = await stage.severalConnections(channel.window);
      await stage.receiver.whileStopped(() => {
        for (const connection of connections) stage.hand(channel, connection);
      });
      const last = channel.last!;
      await channel.acknowledged(last);
      await stage.answered(...connections);
    },
  },
  {
    name: "sequence-starts",
    where: "Sequence numbers",
    says: "the first HANDOFF of a channel sets where its sequence starts",
    remedy: "take the sequence from the first HANDOFF; expect neither 0 nor 1",
    async run(stage) {
      for (const first of [0, 1, 4711, 0x7fffffff]) await handSeveral(stage, 2, first);
    },
  },
  {
    name: "sequence-wraps",
    where: "Sequence numbers",
    says: "sequence numbers are modulo 2^32 and compared in serial arithmetic (RFC 1982)",
    remedy: "compare by the sign of the 32-bit difference, (int32_t)(a - b)",
    run: (stage) => handSeveral(stage, 5, 0xfffffffd),
  },
  {
    name: "sequence-gap",
    where: "Sequence numbers",
    says: "a HANDOFF that is not one higher than the one before is a violation",
    remedy: "close the channel when a sequence is skipped or repeated, and close that descriptor",
    async run(stage) {
      for (const step of [2, 0]) {
        const channel = await stage.channel(10);
        const [first, second] = await stage.severalConnections(2);
        await channel.acknowledged(stage.hand(channel, first!));
        channel.next = 10 + step;
        stage.hand(channel, second!);
        await channel.end();
        await stage.leftAlone(second!);
      }
    },
  },
  {
    name: "unknown-field",
    where: "Messages",
    says: "unknown fields are ignored, wherever they stand",
    remedy: "skip a field of an unknown type by its length",
    async run(stage) {
      await handWith(stage, [
        [0x7fff, Buffer.from("of a version to come")],
        [40, Buffer.alloc(0)],
      ]);
      const channel = await stage.channel();
      const connection = await stage.connection();
      const fields = [[0x1234, Buffer.alloc(300)] as const, ...neededFields(flagsOf[stage.options.probe])];
      await channel.acknowledged(channel.hand(connection, (sequence) => messageBytes(fields, { sequence })));
      await stage.answered(connection);
    },
  },
  {
    name: "useless-fields",
    where: "Messages",
    says: "known fields that a HANDOFF has no use for are ignored",
    remedy: "pass over fields of READY, ACK and REFUSE in a HANDOFF",
    run: (stage) =>
      handWith(stage, [
        [FieldType.OPEN, word(7)],
        [FieldType.WINDOW, Buffer.from([5, 0])],
        [FieldType.REASON, Buffer.from([3])],
      ]),
  },
  {
    name: "all-fields",
    where: "Messages",
    says: "every known field, in any order, is read or passed over, in a message of up to 1024 bytes",
    remedy: "read fields in a loop, by type and length, into a buffer of 1024 bytes",
    async run(stage) {
      const { serverName } = stage.options;
      await handWith(stage, [
        [FieldType.SERVER_NAME, Buffer.from(serverName)],
        [FieldType.ALPN, Buffer.from("http/1.1")],
      ]);
      const longest: [number, Buffer][] = [
        [FieldType.SERVER_ADDRESS, address(443, [203, 0, 113, 1])],
        [FieldType.CLIENT_ADDRESS, address(51234, [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])],
        [FieldType.ALPN, Buffer.alloc(255, "x")],
        [FieldType.SERVER_NAME, Buffer.from(`${"a".repeat(63)}.`.repeat(4).slice(0, -1))],
        [FieldType.HELLO_DEADLINE, long(1n << 62n)],
      ];
      const channel = await stage.channel();
      const connection = await stage.connection();
      const fields = [...longest, ...neededFields(flagsOf[stage.options.probe]).reverse()];
      const rest = 1024 - messageBytes(fields).length - 4;
      fields.push([0x4000, Buffer.alloc(rest)]);
      await channel.acknowledged(channel.hand(connection, (sequence) => messageBytes(fields, { sequence })));
      await stage.answered(connection);
    },
  },
  {
    name: "unknown-flags",
    where: "Messages",
    says: "bits of FLAGS that the receiver does not know change nothing",
    remedy: "look only at the bits that are known",
    async run(stage) {
      const channel = await stage.channel();
      const connection = await stage.connection();
      const fields = neededFields((flagsOf[stage.options.probe] | 0xffff0000) >>> 0);
      await channel.acknowledged(channel.hand(connection, (sequence) => messageBytes(fields, { sequence })));
      await stage.answered(connection);
    },
  },
  {
    name: "consumed",
    where: "A PROXY header is consumed",
    says: "a connection whose PROXY header the door has read, with the addresses it told, is taken as any other",
    remedy: "accept CONSUMED, CLIENT_ADDRESS and SERVER_ADDRESS of 6 and of 18 bytes; nothing is to be read off",
    async run(stage) {
      await handWith(stage, [
        [FieldType.CONSUMED, word(52)],
        [FieldType.CLIENT_ADDRESS, address(12345, [192, 0, 2, 1])],
        [FieldType.SERVER_ADDRESS, address(443, [198, 51, 100, 7])],
      ]);
      const last = (octet: number) => [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, octet];
      await handWith(stage, [
        [FieldType.SERVER_ADDRESS, address(443, last(7))],
        [FieldType.CONSUMED, word(536)],
        [FieldType.CLIENT_ADDRESS, address(12345, last(1))],
      ]);
      // LOCAL, UNKNOWN: a header that told no address.
      await handWith(stage, [[FieldType.CONSUMED, word(16)]]);
    },
  },
  {
    name: "hello-later",
    where: "The hello is not in the message",
    says: "a client that says nothing is acknowledged at once, keeps nobody waiting, and is served when it speaks",
    remedy: "acknowledge before anything is read; the socket comes without O_NONBLOCK: set it, or give it a thread",
    async run(stage) {
      const channel = await stage.channel();
      const silent = await stage.silentConnection();
      const quick = await stage.connection();
      await channel.acknowledged(stage.hand(channel, silent), stage.hand(channel, quick));
      await stage.answered(quick);
      silent.begin(stage.options.probe, stage.options.serverName);
      await stage.answered(silent);
    },
  },
  {
    name: "hello-in-pieces",
    where: "The hello is not in the message",
    says: "a client whose first bytes come in pieces is served",
    remedy: "read as often as bytes come, as from any accepted socket",
    async run(stage) {
      const channel = await stage.channel();
      const { connection, goOn } = await stage.halfConnection();
      await channel.acknowledged(stage.hand(channel, connection));
      await pause(20);
      goOn();
      await stage.answered(connection);
    },
  },
  {
    name: "ipv6",
    where: "Transport",
    says: "a connection over IPv6 is taken as one over IPv4",
    remedy: "look at the socket's type and state, not at its family alone: AF_INET6 is TCP too",
    async run(stage) {
      let connections: Connections;
      try {
        connections = new Connections("::1");
      } catch (error) {
        throw new Skip(`there is no IPv6 here: ${(error as Error).message}`);
      }
      stage.dispose(() => connections.close());
      const channel = await stage.channel();
      const connection = await stage.connection(connections);
      await channel.acknowledged(stage.hand(channel, connection));
      await stage.answered(connection);
    },
  },
];
