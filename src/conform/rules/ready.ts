/** READY: what a receiver says first. */
import { lstatSync } from "node:fs";
import { MAX_WINDOW, MessageType, PROTOCOL_VERSION } from "../../handoff/layout.js";
import { Broken, type Rule, Skip } from "../rule.js";

export const readyRules: readonly Rule[] = [
  {
    name: "ready-first",
    where: "Ready",
    says: "the first message of a channel is READY, without being asked",
    remedy: "send READY as soon as a channel is accepted, and nothing before it",
    async run(stage) {
      const channel = stage.dial();
      await channel.wait("READY", () => channel.said.length > 0 || channel.ended);
      if (channel.said[0]?.type !== MessageType.READY) throw new Broken("READY first", channel.summary);
    },
  },
  {
    name: "ready-valid",
    where: "Messages",
    says: "READY is written in version 1, its length is its record's, and it has VERSIONS and WINDOW once each",
    remedy: "compare the bytes with the example of READY in PROTOCOL.md",
    async run(stage) {
      const ready = await stage.dial().ready();
      if (ready.wrong !== undefined && !/^(window|weight) /.test(ready.wrong)) {
        throw new Broken("a READY that can be read", ready.wrong);
      }
      if (ready.sequence !== 0) throw new Broken("sequence 0 in READY", `${ready.sequence}`);
    },
  },
  {
    name: "ready-versions",
    where: "Ready",
    says: `VERSIONS of READY is a range that has version ${PROTOCOL_VERSION}`,
    remedy: "write the lowest and the highest version that the receiver speaks: 01 01",
    async run(stage) {
      const { wrong, lowestVersion: low, highestVersion: high } = await stage.dial().ready();
      if (wrong !== undefined && low < 0) throw new Skip("READY has no VERSIONS that can be read: see ready-valid");
      if (low <= PROTOCOL_VERSION && high >= PROTOCOL_VERSION) return;
      throw new Broken(`a range of versions with ${PROTOCOL_VERSION}`, `${low} to ${high}`);
    },
  },
  {
    name: "ready-window",
    where: "Window",
    says: `WINDOW of READY is 1 to ${MAX_WINDOW}, and WEIGHT, if it is there, not 0`,
    remedy: `offer at most ${MAX_WINDOW}: no more is sure to fit into a kernel's queue`,
    async run(stage) {
      const { wrong } = await stage.dial().ready();
      if (wrong !== undefined && /^(window|weight) /.test(wrong))
        throw new Broken("a window and weight in range", wrong);
    },
  },
  {
    name: "ready-sender",
    where: "Who may",
    says: "READY is sent by a process of root, or of the path's owner",
    remedy: "run the receiver as the owner of its path, or name its user in the backend's configuration (user:)",
    async run(stage) {
      const { pid, uid } = await stage.dial().ready();
      const { path } = stage.receiver;
      if (path.startsWith("@")) throw new Skip("an abstract address has no owner");
      const owner = lstatSync(path).uid;
      if (uid === 0 || uid === owner) return;
      throw new Broken(`a process of root or of user ${owner}, who owns ${path}`, `process ${pid} of user ${uid}`);
    },
  },
  {
    name: "ready-on-each",
    where: "Ready",
    says: "every channel gets a READY of its own, also many at once",
    remedy: "accept channels until accept(2) says EAGAIN, and greet each one",
    async run(stage) {
      const channels = Array.from({ length: 48 }, () => stage.dial());
      for (const channel of channels) await channel.ready();
    },
  },
];
