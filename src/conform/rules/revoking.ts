/** Whose a connection is when the door takes it back, and when it dies. */
import type { Channel } from "../channel.js";
import type { Connection } from "../connection.js";
import { Broken, type Rule } from "../rule.js";
import type { Stage } from "../stage.js";
import { eventually, pause } from "../wait.js";

/** How long a receiver is left alone with what it may not touch. Milliseconds. */
const QUIET = 200;

/**
 * A channel, and a wait until the receiver has closed its end of it: what is in the queue there until then is open in no
 * process, as if it were closed.
 */
async function watchedChannel(stage: Stage): Promise<{ channel: Channel; isLeft: () => Promise<void> }> {
  const before = new Set(stage.receiver.openSockets);
  const channel = await stage.channel();
  const ends = stage.receiver.openSockets.filter((identity) => !before.has(identity));
  const isLeft = async () => {
    await eventually(() => stage.receiver.holding(ends).length === 0, stage.timeout);
  };
  return { channel, isLeft };
}

/** Connections handed over on a channel whose ACKs already fail with EPIPE; `flags` are theirs before that. */
async function handUnacknowledged(
  stage: Stage,
  count: number,
): Promise<{ channel: Channel; isLeft: () => Promise<void>; connections: Connection[]; flags: number[] }> {
  const { channel, isLeft } = await watchedChannel(stage);
  const connections = await stage.severalConnections(count);
  const flags = connections.map((connection) => connection.flags);
  channel.stopReading();
  for (const connection of connections) stage.hand(channel, connection);
  return { channel, isLeft, connections, flags };
}

/** Another channel of the same receiver takes what was revoked. */
async function handAgain(stage: Stage, connections: readonly Connection[]): Promise<void> {
  const channel = await stage.channel();
  await channel.acknowledged(...connections.map((connection) => stage.hand(channel, connection)));
  await stage.answered(...connections);
}

export const revokingRules: readonly Rule[] = [
  {
    name: "ack-first",
    where: "Ownership",
    says: "before its ACK succeeded a receiver reads nothing from a connection, writes nothing, changes nothing",
    remedy: "send the ACK, look at its result, and only then set O_NONBLOCK or options, read, or hand it to a server",
    async run(stage) {
      const { channel, connections, flags } = await handUnacknowledged(stage, 3);
      await pause(QUIET);
      stage.untouched(...connections);
      const now = connections.map((connection) => connection.flags);
      if (String(now) !== String(flags)) {
        throw new Broken(`file flags as they were (0${flags[0]!.toString(8)})`, `0${now[0]!.toString(8)}`);
      }
      channel.revoke();
      channel.close();
    },
  },
  {
    name: "revoke-after-failed-ack",
    where: "Revoking",
    says: "a receiver whose ACK failed with EPIPE reads the channel to its end, and closes what a REVOKE there takes back",
    remedy: "decide nothing on EPIPE or ECONNRESET: read until recvmsg(2) returns 0, then look whether a REVOKE came",
    async run(stage) {
      const { channel, isLeft, connections } = await handUnacknowledged(stage, 3);
      await pause(QUIET / 4);
      channel.revoke();
      channel.close();
      await isLeft();
      await stage.closed(new Map(connections.map(({ identity }) => [identity, "a connection that was revoked"])));
      stage.untouched(...connections);
      await handAgain(stage, connections);
    },
  },
  {
    name: "revoke-in-queue",
    where: "Revoking",
    says: "a receiver that was stopped, and finds connections with their REVOKE behind them, serves none of them",
    remedy: "read all that is queued before an ACK is sent, or let the ACK's failure decide",
    async run(stage) {
      const { channel, isLeft } = await watchedChannel(stage);
      const connections = await stage.severalConnections(channel.window);
      await stage.receiver.whileStopped(() => {
        for (const connection of connections) stage.hand(channel, connection);
        channel.stopReading();
        channel.revoke();
        channel.close();
      });
      await isLeft();
      await stage.closed(new Map(connections.map(({ identity }) => [identity, "a connection that was revoked"])));
      stage.untouched(...connections);
      await handAgain(stage, connections.slice(0, 8));
    },
  },
  {
    name: "revoke-keeps-owned",
    where: "Revoking",
    says: "a REVOKE leaves connections alone whose ACK succeeded, and ends the channel",
    remedy: "close only what is not acknowledged; then close the channel",
    async run(stage) {
      const channel = await stage.channel();
      const connection = await stage.silentConnection();
      await channel.acknowledged(stage.hand(channel, connection));
      channel.revoke();
      await channel.end();
      connection.begin(stage.options.probe, stage.options.serverName);
      await stage.answered(connection);
    },
  },
  {
    name: "door-died",
    where: "Revoking",
    says: "a receiver whose ACK failed, and which finds no REVOKE before the channel's end, owns the connections",
    remedy: "at the end of the channel without a REVOKE serve what is not acknowledged: the door has died",
    async run(stage) {
      const { channel, connections } = await handUnacknowledged(stage, 3);
      await pause(QUIET / 4);
      for (const connection of connections) connection.letGo();
      channel.close();
      await stage.answered(...connections);
    },
  },
  {
    name: "door-died-in-queue",
    where: "Read to the end first",
    says: "connections in the queue of a door that has died are the receiver's, whatever error comes before them",
    remedy: "on EPOLLHUP, EPIPE or ECONNRESET go on with recvmsg(2) until it returns 0, and serve what comes",
    async run(stage) {
      const channel = await stage.channel();
      const connections = await stage.severalConnections(8);
      await stage.receiver.whileStopped(() => {
        for (const connection of connections) {
          stage.hand(channel, connection);
          connection.letGo();
        }
        channel.close();
      });
      await stage.answered(...connections);
    },
  },
  {
    name: "door-died-unread",
    where: "Read to the end first",
    says: "as much if the door leaves unread what the receiver had said: ECONNRESET comes first, the queue is still there",
    remedy: "after ECONNRESET call recvmsg(2) again: it is told once, and the messages are behind it",
    async run(stage) {
      const channel = await stage.channel();
      const connections = await stage.severalConnections(6);
      channel.ignore();
      const [first, ...rest] = connections;
      stage.hand(channel, first!);
      await stage.answered(first!);
      await stage.receiver.whileStopped(() => {
        for (const connection of rest) stage.hand(channel, connection);
        for (const connection of connections) connection.letGo();
        channel.close();
      });
      await stage.answered(...rest);
    },
  },
  {
    name: "door-died-alone",
    where: "Transport",
    says: "when one door dies, what another has handed over is neither lost nor closed",
    remedy: "keep what is not acknowledged for each channel apart",
    async run(stage) {
      const [dying, other] = await Promise.all([stage.channel(), stage.channel()]);
      const [one, two] = await stage.severalConnections(2);
      await stage.receiver.whileStopped(() => {
        stage.hand(dying!, one!);
        stage.hand(other!, two!);
        one!.letGo();
        dying!.close();
      });
      await other!.acknowledged(other!.last!);
      await stage.answered(one!, two!);
    },
  },
];
