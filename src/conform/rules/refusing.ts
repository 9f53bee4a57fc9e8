/** What a receiver refuses, and how. */
import { execFileSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MessageType, RefuseReason } from "../../handoff/layout.js";
import { native } from "../../native/addon.js";
import { type Connection, identityOf } from "../connection.js";
import { Broken, type Rule } from "../rule.js";
import type { Stage } from "../stage.js";
import { eventually, pause } from "../wait.js";

const { NO_DESCRIPTOR, OVERLOADED } = RefuseReason;
/** An overloaded receiver is left alone for so long, if it does not say READY before. Milliseconds. */
const REST = 1000;
/** So many connections are held open at most to see whether a receiver says `overloaded`. */
const MANY = 240;

/** What is handed over in place of a connection is refused, before an ACK passes it, and closed; connections beside it are served. */
async function refusesNotTcp(stage: Stage, what: string, descriptor: number): Promise<void> {
  const identity = identityOf(descriptor);
  stage.given.set(identity, what);
  const channel = await stage.channel();
  const [before, after] = await stage.severalConnections(2);
  const first = stage.hand(channel, before!);
  const wrong = channel.handWith([descriptor], (sequence) => stage.handoff(sequence));
  const last = stage.hand(channel, after!);
  await channel.refused(wrong, RefuseReason.NOT_TCP);
  await channel.acknowledged(first, last);
  await stage.answered(before!, after!);
}

/** A file's descriptor, in a folder that is removed with the rule. */
function open(stage: Stage, make: (folder: string) => number): number {
  const folder = mkdtempSync(join(tmpdir(), "sni-handoff-conform-"));
  const descriptor = make(folder);
  stage.dispose(() => {
    closeSync(descriptor);
    rmSync(folder, { recursive: true, force: true });
  });
  return descriptor;
}

const notTcp = (
  name: string,
  what: string,
  make: (stage: Stage) => number | Promise<number>,
  remedy = "check SO_DOMAIN, SO_TYPE and SO_PROTOCOL of what arrives; REFUSE with `not TCP`, close it, go on",
): Rule => ({
  name,
  where: "Refusing",
  says: `${what} instead of a connection is refused with \`not TCP\`, and the connections beside it are served`,
  remedy,
  async run(stage) {
    await refusesNotTcp(stage, what, await make(stage));
  },
});

function unixSocket(stage: Stage): number {
  const [one, other] = native.socketPair("stream");
  stage.dispose(() => {
    native.close(one);
    native.close(other);
  });
  return one;
}

async function udpSocket(stage: Stage): Promise<number> {
  const socket = createSocket("udp4");
  stage.dispose(() => socket.close());
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  // Node does not tell a datagram socket's descriptor. proc_net(5), udp: local address and port, and the inode.
  const port = socket.address().port.toString(16).toUpperCase().padStart(4, "0");
  const rows = readFileSync("/proc/self/net/udp", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/));
  const inodes = rows.filter((row) => row[1]?.endsWith(`:${port}`)).map((row) => `socket:[${row[9]}]`);
  const descriptor = readdirSync("/proc/self/fd").find((name) => isOneOf(Number(name), inodes));
  if (descriptor === undefined) throw new Error("the UDP socket was not found in /proc/self/fd");
  return Number(descriptor);
}

function isOneOf(descriptor: number, identities: readonly string[]): boolean {
  try {
    return identities.includes(identityOf(descriptor));
  } catch {
    return false; // The one that listed the folder.
  }
}

function listeningSocket(stage: Stage): number {
  const descriptor = native.listenTcp({ address: "127.0.0.1", port: 0, backlog: 1 });
  stage.dispose(() => native.close(descriptor));
  return descriptor;
}

const pipe = (folder: string) => {
  const path = join(folder, "pipe");
  execFileSync("mkfifo", [path]);
  return openSync(path, "r+");
};

export const refusingRules: readonly Rule[] = [
  {
    name: "no-descriptor",
    where: "Refusing",
    says: "a HANDOFF without a descriptor is refused with `no descriptor`, and the channel goes on",
    remedy: "REFUSE it (reason 1): its descriptor was lost at the receiver's limit, or there was none",
    async run(stage) {
      const channel = await stage.channel();
      const [before, after] = await stage.severalConnections(2);
      const first = stage.hand(channel, before!);
      const without = channel.handWith([], (sequence) => stage.handoff(sequence));
      const last = stage.hand(channel, after!);
      await channel.refused(without, RefuseReason.NO_DESCRIPTOR);
      await channel.acknowledged(first, last);
      await stage.answered(before!, after!);
    },
  },
  {
    name: "two-descriptors",
    where: "Refusing",
    says: "a HANDOFF with more than one descriptor is refused with `no descriptor`, all of them closed",
    remedy: "have room for several in msg_control, close all that arrive, also with MSG_CTRUNC, and REFUSE",
    async run(stage) {
      const channel = await stage.channel();
      const [one, two, after] = await stage.severalConnections(3);
      const descriptors = [one!.descriptor, two!.descriptor];
      const both = channel.handWith(descriptors, (sequence) => stage.handoff(sequence));
      const last = stage.hand(channel, after!);
      await channel.refused(both, RefuseReason.NO_DESCRIPTOR);
      await channel.acknowledged(last);
      await stage.answered(after!);
      await stage.leftAlone(one!, two!);
    },
  },
  notTcp("not-tcp-pipe", "a pipe", (stage) => open(stage, pipe)),
  notTcp("not-tcp-file", "a file", (stage) => open(stage, (folder) => openSync(join(folder, "file"), "w+"))),
  notTcp("not-tcp-udp", "a UDP socket", udpSocket),
  notTcp(
    "not-tcp-listening",
    "a listening TCP socket",
    listeningSocket,
    "check SO_ACCEPTCONN too: getpeername(2) says ENOTCONN of it, but it is no connection that has died",
  ),
  notTcp("not-tcp-unix", "a unix socket", unixSocket),
  {
    name: "dead",
    where: "Refusing",
    says: "a connection that is dead already is acknowledged and closed, not refused",
    remedy: "ENOTCONN of a TCP socket that does not listen: acknowledge, then close it",
    async run(stage) {
      const channel = await stage.channel();
      const [dead, after] = await stage.severalConnections(2);
      dead!.client.resetAndDestroy();
      await channel.wait("the client's reset to arrive", () => dead!.isGone);
      const copy = native.duplicate(dead!.descriptor);
      stage.dispose(() => native.close(copy));
      const handed = stage.hand(channel, dead!);
      const last = stage.hand(channel, after!);
      await channel.acknowledged(handed, last);
      await stage.closed(new Map([[dead!.identity, "the dead connection"]]));
      await stage.answered(after!);
    },
  },
  {
    name: "client-left",
    where: "Refusing",
    says: "a connection whose client has said its bytes and left is acknowledged, and closed when that is seen",
    remedy: "treat it as any other: what it sent is read, then comes the end of file",
    async run(stage) {
      const channel = await stage.channel();
      const [left, after] = await stage.severalConnections(2);
      const { identity } = left!;
      left!.client.destroy();
      await pause(20);
      await channel.acknowledged(stage.hand(channel, left!), stage.hand(channel, after!));
      await stage.answered(after!);
      await stage.closed(new Map([[identity, "a connection whose client has left"]]));
    },
  },
  {
    name: "descriptor-limit",
    where: "Refusing",
    says: "at the receiver's own limit of descriptors nothing is lost: `no descriptor`, or an ACK later",
    remedy:
      "MSG_CTRUNC without a descriptor: REFUSE with `no descriptor`; keep some descriptors for the process itself",
    needsStart: true,
    async run(stage) {
      const channel = await stage.channel();
      const connections = await stage.severalConnections(24);
      const restore = stage.receiver.limitDescriptors(4);
      const handed = connections.map((connection) => stage.hand(channel, connection));
      await eventually(() => channel.unsettled === 0, stage.timeout / 5);
      restore();
      await channel.wait("an ACK or REFUSE of each", () => channel.unsettled === 0);
      const refused = handed.filter(({ answer }) => answer === "refused");
      const strange = refused.find(({ reason }) => ![NO_DESCRIPTOR, OVERLOADED].includes(reason as never));
      if (strange !== undefined) throw new Broken("refusals with `no descriptor`", channel.summary);
      // What was refused goes elsewhere: here to the same receiver, which has room again.
      await pause(refused.length > 0 ? REST : 0);
      const again = refused.map(({ connection }) => connection!);
      await channel.acknowledged(...again.map((connection) => stage.hand(channel, connection)));
      await stage.answered(...connections);
    },
  },
  {
    name: "overloaded",
    where: "Refusing",
    says: "a receiver that refuses with `overloaded` takes connections again when clients have left",
    remedy: "send READY when there is room again; it ends the rest that `overloaded` began",
    async run(stage) {
      const channel = await stage.channel();
      const open: Connection[] = [];
      while (open.length < MANY) {
        const some = await stage.severalConnections(Math.min(channel.window, 24));
        const handed = some.map((connection) => stage.hand(channel, connection));
        await channel.wait("an ACK or REFUSE of each", () => channel.unsettled === 0);
        const refused = handed.filter(({ answer }) => answer === "refused").map(({ connection }) => connection!);
        open.push(...some);
        if (refused.length === 0) continue;
        if (!handed.some(({ reason }) => reason === OVERLOADED)) throw new Broken("`overloaded`", channel.summary);
        const keep = refused[0]!;
        const said = channel.said.length;
        for (const connection of open) if (connection !== keep) stage.done(connection);
        const isReady = () => channel.said.slice(said).some(({ type }) => type === MessageType.READY);
        await eventually(isReady, REST);
        await channel.acknowledged(stage.hand(channel, keep));
        await stage.answered(keep);
        return;
      }
      await stage.answered(...open);
    },
  },
];
