/** Several channels, many connections, and that nothing stays open. */
import type { Channel } from "../channel.js";
import { Broken, type Rule } from "../rule.js";
import type { Stage } from "../stage.js";
import { eventually, pause, within } from "../wait.js";

/** Channels that share the many sockets, as a door's workers do; and how many of them are on the way at once on each. */
const CHANNELS = 4;
const AT_ONCE = 16;
/** A connection is offered again so often, if it is refused as overloaded. */
const OFFERS = 20;
/** How long an overloaded receiver is left alone. Milliseconds. */
const REST = 1000;

/** Hands over and looks at the answer; says what went wrong, if anything did. */
async function serveOne(stage: Stage, channel: Channel): Promise<string | undefined> {
  const connection = await stage.connection();
  try {
    for (let offer = 1; ; offer++) {
      const handed = stage.hand(channel, connection);
      await within(handed.settled, stage.timeout);
      if (handed.answer === "acknowledged") break;
      if (handed.answer === undefined) return `no ACK of ${handed.sequence} (${channel.summary})`;
      if (offer === OFFERS) return `refused ${OFFERS} times (${channel.summary})`;
      await pause(REST);
    }
    await eventually(() => connection.answer !== undefined, stage.timeout);
    return connection.answer === "answered" ? undefined : (connection.answer ?? "no answer in time");
  } finally {
    stage.done(connection);
  }
}

export const channelRules: readonly Rule[] = [
  {
    name: "several-channels",
    where: "Transport",
    says: "channels know nothing of each other: each has its own sequence, window and READY",
    remedy: "keep the last sequence, and what is not acknowledged, for each channel apart",
    async run(stage) {
      const channels = await Promise.all([7, 7, 100, 1, 7, 99].map((first) => stage.channel(first)));
      const all = [];
      for (let round = 0; round < 4; round++) {
        for (const channel of channels) {
          const connection = await stage.connection();
          all.push({ channel, connection, handed: stage.hand(channel, connection) });
        }
      }
      for (const { channel, handed } of all) await channel.acknowledged(handed);
      await stage.answered(...all.map(({ connection }) => connection));
    },
  },
  {
    name: "channel-ends-alone",
    where: "Transport",
    says: "the end of one channel touches no other",
    remedy: "at the end of a channel close that channel, and nothing else",
    async run(stage) {
      const [one, other] = await Promise.all([stage.channel(), stage.channel()]);
      one!.close();
      await pause(20);
      const connection = await stage.connection();
      await other!.acknowledged(stage.hand(other!, connection));
      await stage.answered(connection);
    },
  },
  {
    name: "door-leaves-early",
    where: "Ready",
    says: "a door that connects and is gone before READY harms nobody",
    remedy: "send with MSG_NOSIGNAL, or ignore SIGPIPE; EPIPE of one channel ends that channel only",
    async run(stage) {
      await stage.receiver.whileStopped(() => {
        for (let i = 0; i < 32; i++) stage.dial().close();
      });
      const channel = await stage.channel();
      const connection = await stage.connection();
      await channel.acknowledged(stage.hand(channel, connection));
      await stage.answered(connection);
    },
  },
  {
    name: "channels-closed",
    where: "The instance's side of a channel",
    says: "channels that have ended are closed",
    remedy: "close(2) the channel when recvmsg(2) has returned 0, or failed for good",
    async run(stage) {
      // Of the rules before, some may be on their way out still: never fewer than when all is quiet.
      const before = stage.receiver.sockets;
      const channels = Array.from({ length: 40 }, () => stage.dial());
      for (const channel of channels) await channel.ready();
      for (const channel of channels) channel.close();
      let now = 0;
      await eventually(() => {
        now = stage.receiver.sockets;
        return now <= before;
      }, stage.timeout);
      if (now > before) throw new Broken(`${before} open sockets, as before 40 channels came and went`, `${now}`);
    },
  },
  {
    name: "sockets",
    where: "Ownership",
    says: "many connections over several channels are each acknowledged and answered",
    remedy: "look at what the failing clients saw; each one was acknowledged, or refused, by its own sequence",
    async run(stage) {
      const channels = await Promise.all(Array.from({ length: CHANNELS }, () => stage.channel()));
      const failures: string[] = [];
      let left = stage.options.sockets;
      const workers = channels.flatMap((channel) =>
        Array.from({ length: Math.min(AT_ONCE, channel.window) }, async () => {
          while (left-- > 0 && failures.length < 10) {
            const failure = await serveOne(stage, channel);
            if (failure !== undefined) failures.push(failure);
          }
        }),
      );
      await Promise.all(workers);
      if (failures.length === 0) return;
      throw new Broken(`an answer to each of ${stage.options.sockets} clients`, failures.slice(0, 3).join("; "));
    },
  },
  {
    name: "nothing-left-open",
    where: "Violations",
    says: "whatever was refused, revoked, part of a violation, or served to its end is closed",
    remedy: "find the path on which this one's descriptor is not closed",
    async run(stage) {
      const channel = await stage.channel();
      const connections = await stage.severalConnections(4);
      await channel.acknowledged(...connections.map((connection) => stage.hand(channel, connection)));
      await stage.answered(...connections);
      const given = new Map([...stage.givenBefore, ...stage.given]);
      stage.close();
      await stage.closed(given);
    },
  },
];
