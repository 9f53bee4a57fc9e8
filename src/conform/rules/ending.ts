/** Draining, and being started again. */
import { lstatSync, rmSync, unlinkSync } from "node:fs";
import { MessageType, RefuseReason } from "../../handoff/layout.js";
import { native } from "../../native/addon.js";
import type { Channel } from "../channel.js";
import { isAlive } from "../process.js";
import { Broken, type Rule, Skip } from "../rule.js";
import type { Stage } from "../stage.js";
import { Started } from "../started.js";
import { eventually, pause } from "../wait.js";

/** How long a second receiver may take to see that it is one too many, if `--timeout` is not longer. Milliseconds. */
const SECOND = 15_000;
/** How many start at the same moment. */
const TOGETHER = 3;

export const endingRules: readonly Rule[] = [
  {
    name: "drain",
    where: "Draining",
    says: "a receiver that is asked to end sends DRAIN on every channel",
    remedy: "on SIGTERM (or what --stop-signal says) send DRAIN on all channels, before anything is closed",
    needsStart: true,
    ends: true,
    async run(stage) {
      const channels = await Promise.all([stage.channel(), stage.channel()]);
      await served(stage, channels[0]!);
      stage.receiver.signal(stage.options.stopSignal);
      for (const channel of channels) await channel.wait("DRAIN", () => channel.has(MessageType.DRAIN));
    },
  },
  {
    name: "drain-takes-queue",
    where: "Draining",
    says: "what is handed over before the door has read DRAIN is acknowledged and served, or refused",
    remedy: "go on reading each channel until its end, after DRAIN too",
    needsStart: true,
    ends: true,
    async run(stage) {
      const channel = await stage.channel();
      await served(stage, channel);
      const connections = await stage.severalConnections(8);
      stage.receiver.signal(stage.options.stopSignal);
      await channel.wait("DRAIN", () => channel.has(MessageType.DRAIN) || channel.ended);
      // As by a door that has not read it yet.
      const handed = connections.map((connection) => stage.hand(channel, connection));
      await channel.wait("ACK or REFUSE of all 8", () => channel.unsettled === 0);
      const owned = connections.filter((_, i) => handed[i]!.answer === "acknowledged");
      const refused = handed.filter(({ answer }) => answer === "refused");
      const other = refused.find(({ reason }) => reason !== RefuseReason.DRAINING);
      if (other !== undefined) throw new Broken("refusals with `draining`", channel.summary);
      await stage.answered(...owned);
    },
  },
  {
    name: "drain-keeps-owned",
    where: "Draining",
    says: "draining does not touch connections that are owned already, though their clients have only begun to speak",
    remedy: "end the process when its connections have ended, not before",
    needsStart: true,
    ends: true,
    async run(stage) {
      const channel = await stage.channel();
      await served(stage, channel);
      const halves = await Promise.all(Array.from({ length: 4 }, () => stage.halfConnection()));
      const connections = halves.map(({ connection }) => connection);
      await channel.acknowledged(...connections.map((connection) => stage.hand(channel, connection)));
      // It has begun with them.
      await pause(20);
      stage.receiver.signal(stage.options.stopSignal);
      await eventually(() => channel.has(MessageType.DRAIN) || channel.ended, stage.timeout);
      for (const { goOn } of halves) goOn();
      await stage.answered(...connections);
    },
  },
  {
    name: "drain-ends",
    where: "Draining",
    says: "a draining receiver ends when the doors have closed their channels and its clients are gone",
    remedy: "after DRAIN read each channel to its end; when all have ended, and all connections, end the process",
    needsStart: true,
    ends: true,
    async run(stage) {
      const { pid } = stage.receiver;
      if (pid <= 0) throw new Skip("the receiver's process is not visible: it is in another pid namespace");
      const channel = await stage.channel();
      await served(stage, channel);
      stage.receiver.signal(stage.options.stopSignal);
      await eventually(() => channel.has(MessageType.DRAIN) || channel.ended, stage.timeout);
      channel.close();
      const isGone = await eventually(() => !isAlive(pid), stage.timeout);
      if (isGone === undefined) throw new Broken(`process ${pid} to end`, "it runs still");
    },
  },
  {
    name: "drain-frees-path",
    where: "Draining",
    says: "by the time that DRAIN is read the path is free for a successor",
    remedy: "first close the listening socket and remove its path, then send DRAIN",
    needsStart: true,
    ends: true,
    async run(stage) {
      const channel = await stage.channel();
      await served(stage, channel);
      const { path } = stage.receiver;
      stage.receiver.signal(stage.options.stopSignal);
      await channel.wait("DRAIN", () => channel.has(MessageType.DRAIN) || channel.ended);
      if (!stage.receiver.listensAt(path)) return;
      throw new Broken(`nobody at ${path} any more`, "connect(2) succeeds");
    },
  },
  {
    name: "successors-path",
    where: "A path that is there already",
    says: "whoever ends removes the path only if it still is the socket that it bound",
    remedy: "keep device and inode of the path as it was bound; compare them before unlink(2)",
    needsStart: true,
    ends: true,
    async run(stage) {
      const { path } = stage.receiver;
      if (path.startsWith("@")) throw new Skip("an abstract address is no file");
      const channel = await stage.channel();
      await served(stage, channel);
      unlinkSync(path);
      const successor = native.listenUnix(path, "seqpacket", { backlog: 16 });
      stage.dispose(() => {
        native.close(successor);
        rmSync(path, { force: true });
      });
      const { ino } = lstatSync(path);
      stage.receiver.signal(stage.options.stopSignal);
      await channel.wait("DRAIN", () => channel.has(MessageType.DRAIN) || channel.ended);
      channel.close();
      await eventually(() => !stage.receiver.isAlive, stage.timeout);
      if (lstatSync(path, { throwIfNoEntry: false })?.ino === ino) return;
      throw new Broken(`the successor's socket at ${path}`, "it was removed");
    },
  },
  {
    name: "stale-socket",
    where: "Transport",
    says: "a receiver that was killed is started again at the same path, whose socket file is there still",
    remedy: "connect(2) to the path: ECONNREFUSED means that nobody is there; then unlink(2) and bind(2)",
    needsStart: true,
    async run(stage) {
      await stage.receiver.kill();
      await stage.restart();
      const channel = await stage.channel();
      await served(stage, channel);
    },
  },
  {
    name: "one-holder",
    where: "Transport",
    says: "one process listens on a path: a second one fails, and the first goes on",
    remedy: "connect(2) to the path before it is removed: if somebody is there, end with an error",
    needsStart: true,
    async run(stage) {
      if (stage.receiver.isFolder) throw new Skip("in a folder each process has a socket of its own");
      const second = await startSecond(stage);
      const first = stage.receiver.pid;
      const channel = await stage.channel();
      const { pid } = await channel.ready();
      if (pid !== first) throw new Broken(`process ${first} at the path still`, `process ${pid} took it`);
      await served(stage, channel);
      if (!second.failed)
        throw new Broken("the second receiver to end with a status other than 0", second.ended ?? "it runs");
    },
  },
  {
    name: "start-together",
    where: "A path that is there already",
    says: "of several that start at the same moment one gets the path, and the others fail",
    remedy: "take flock(2) of the path's folder before connect(2) and bind(2), until after listen(2)",
    needsStart: true,
    ends: true,
    async run(stage) {
      if (stage.receiver.isFolder) throw new Skip("in a folder each process has a socket of its own");
      await stage.receiver.end();
      const all = Array.from({ length: TOGETHER }, () => new Started(stage.receiver.command!));
      stage.dispose(() => {
        for (const each of all) each.signal("SIGKILL");
      });
      const failed = () => all.filter(({ failed }) => failed).length;
      await eventually(() => failed() >= TOGETHER - 1, Math.max(SECOND, 3 * stage.timeout));
      if (failed() !== TOGETHER - 1) throw new Broken(`${TOGETHER - 1} of ${TOGETHER} to fail`, `${failed()} did`);
      await eventually(() => stage.receiver.listens, stage.timeout);
      const channel = await stage.channel();
      await served(stage, channel);
    },
  },
  {
    name: "holder-named",
    where: "Transport",
    says: "a second receiver says which process has the path",
    remedy: "connect(2) to the path, SO_PEERCRED of that socket: write its pid into the error",
    needsStart: true,
    async run(stage) {
      if (stage.receiver.isFolder) throw new Skip("in a folder each process has a socket of its own");
      const { pid } = stage.receiver;
      const second = await startSecond(stage);
      if (new RegExp(`\\b${pid}\\b`).test(second.output)) return;
      throw new Broken(`an error that names process ${pid}`, JSON.stringify(second.output.slice(-400)));
    },
  },
];

/** The server is in its loop, not on its way there: a process that has only just begun may not know signals yet. */
async function served(stage: Stage, channel: Channel): Promise<void> {
  const connection = await stage.connection();
  await channel.acknowledged(stage.hand(channel, connection));
  await stage.answered(connection);
  stage.done(connection);
}

async function startSecond(stage: Stage): Promise<Started> {
  const second = new Started(stage.receiver.command!);
  stage.dispose(() => second.signal("SIGKILL"));
  await eventually(() => second.ended !== undefined, Math.min(Math.max(SECOND, stage.timeout), 3 * stage.timeout));
  return second;
}
