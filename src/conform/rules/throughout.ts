/** Rules about all that a receiver says in a run, and all that it was given: they are looked at last. */
import { native } from "../../native/addon.js";
import type { Rule } from "../rule.js";
import type { Stage } from "../stage.js";

/** Two connections with something else between them, found in the queue at once. */
async function mixedBatch(stage: Stage): Promise<void> {
  const channel = await stage.channel();
  const [before, after] = await stage.severalConnections(2);
  const [one, other] = native.socketPair("stream");
  stage.dispose(() => {
    native.close(one);
    native.close(other);
  });
  await stage.receiver.whileStopped(() => {
    stage.hand(channel, before!);
    channel.handWith([one], (sequence) => stage.handoff(sequence));
    stage.hand(channel, after!);
  });
  await channel.wait("ACK or REFUSE of all three", () => channel.unsettled === 0);
}

const never = (name: string, where: string, says: string, expected: string, remedy: string): Rule => ({
  name,
  where,
  says,
  remedy,
  async run(stage) {
    await mixedBatch(stage);
    stage.never(name, expected);
  },
});

export const throughoutRules: readonly Rule[] = [
  never(
    "ack-not-beyond",
    "Ownership",
    "an ACK never passes the last HANDOFF that was sent",
    "no ACK beyond the last HANDOFF",
    "acknowledge the highest sequence that was received on this very channel",
  ),
  never(
    "refuse-before-ack",
    "Refusing",
    "a REFUSE is sent before any ACK that passes its sequence, and only once",
    "REFUSE only of what is outstanding",
    "send the REFUSEs of a batch first, then its one ACK",
  ),
  never(
    "well-formed",
    "Messages",
    "whatever a receiver says is a message of the protocol that receivers may send",
    "messages as PROTOCOL.md has them",
    "compare the bytes with the examples in PROTOCOL.md",
  ),
  never(
    "no-descriptor-back",
    "Transport",
    "no message of a receiver carries a descriptor",
    "messages without descriptors",
    "send without SCM_RIGHTS: doors refuse descriptors, and sendmsg(2) may fail",
  ),
];
