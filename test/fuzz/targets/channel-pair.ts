/**
 * A door's side of a channel and an instance's, joined by queues, with bytes for what happens next: who reads, who is slow,
 * when the door takes back what it gave, when one of the two dies. Whatever the order, each connection has one owner.
 */
import { Channel, ChannelState } from "../../../src/door/channel.js";
import type { HandoffBackendSettings } from "../../../src/door/settings.js";
import { InstanceChannel, REVOKED, TAKEN_IN, type Unsettled, Verdict } from "../../../src/handoff/instance-channel.js";
import { MessageType, RefuseReason } from "../../../src/handoff/layout.js";
import { Message } from "../../../src/handoff/message.js";
import { check, same } from "../check.js";
import { integer, percent, pick, type Random, randomBytes, randomOf, seededRandom } from "../random.js";

interface Sent {
  readonly type: number;
  readonly sequence: number;
  /** Of a HANDOFF: which connection comes with it. */
  readonly connection: number;
}

/** What has become of a connection: more than one of these is a fault, but for the refusals of both sides. */
interface Fate {
  /** The instance's ACK was sent. */
  owned: boolean;
  /** The instance's REFUSE was sent, and its copy closed. */
  refusedByInstance: boolean;
  /** The door may give it to another. */
  takenBack: boolean;
  /** The door has read the ACK, and closed its copy. */
  seenOwned: boolean;
}

const settings = { name: "app" } as HandoffBackendSettings;
const message = new Message();

class World {
  readonly fates: Fate[] = [];
  readonly #random: Random;
  readonly #door: Channel;
  readonly #instance: InstanceChannel;
  readonly #window: number;
  #toInstance: Sent[] = [];
  #toDoor: Sent[] = [];
  /** shutdown(SHUT_RD): nothing more can be sent to the door. */
  #isShut = false;
  /** The channel is closed there. */
  #doorIsGone = false;
  #instanceIsGone = false;
  /** Which of them was killed. */
  readonly #killed: Set<"door" | "instance"> = new Set();

  constructor(random: Random) {
    this.#random = random;
    this.#window = pick(random, [1, 2, 3, 8, 128]);
    const first = pick(random, [1, 0xfffffffe, integer(random, 0, 0xffffffff)]);
    this.#door = new Channel(0, 0, settings, "/a.sock", "app /a.sock", first);
    this.#door.state = ChannelState.READY;
    this.#door.window = this.#window;
    this.#instance = new InstanceChannel(this.#window);
  }

  step(): void {
    const acts = [this.#send, this.#send, this.#receive, this.#receive, this.#settle, this.#read, this.#repeat];
    const ends = [this.#shut, this.#revoke, this.#dieAsDoor, this.#dieAsInstance];
    pick(this.#random, percent(this.#random, 3) ? ends : acts).call(this);
  }

  /** Lets both read to the end. */
  finish(): void {
    this.#shut();
    while (this.#toInstance.length > 0 && !this.#instanceIsGone) this.#receive();
    this.#settle();
    if (!this.#doorIsGone) this.#revoke();
    while (!this.#instanceIsGone) this.#receive();
    for (const [connection, fate] of this.fates.entries()) this.#judge(connection, fate);
  }

  #judge(connection: number, { owned, refusedByInstance, takenBack, seenOwned }: Fate): void {
    const what = `connection ${connection}`;
    check(!(owned && takenBack), `${what} is not served twice`);
    check(!(owned && refusedByInstance), `${what} is not owned and refused`);
    check(owned || !seenOwned, `${what} is not forgotten by the door before the instance owns it`);
    if (this.#killed.size === 2) return;
    // A refusal that a door had not read before it was killed is the one thing that nobody has any more.
    check(owned || takenBack || (refusedByInstance && this.#killed.has("door")), `${what} is not lost`);
  }

  #send(): void {
    if (this.#doorIsGone || this.#isShut || !this.#door.takes(0)) return;
    const connection = this.fates.length;
    this.fates.push({ owned: false, refusedByInstance: false, takenBack: false, seenOwned: false });
    const sequence = this.#door.sequenceOf(0);
    this.#door.sent(connection);
    if (!this.#instanceIsGone) this.#toInstance.push({ type: MessageType.HANDOFF, sequence, connection });
  }

  #receive(): void {
    if (this.#instanceIsGone) return;
    const sent = this.#toInstance.shift();
    if (sent === undefined) {
      // The end, without a REVOKE: nobody else has them.
      if (this.#doorIsGone) this.#end(this.#instance.takeAll(), true);
      return;
    }
    message.type = sent.type;
    message.sequence = sent.sequence;
    const refusals = Object.values(RefuseReason);
    const verdict = percent(this.#random, 80) ? Verdict.TAKE : pick(this.#random, [Verdict.BURY, ...refusals]);
    const step = this.#instance.receive(message, verdict, sent.connection, "");
    if (step === REVOKED) return this.#end(this.#instance.takeAll(), false);
    same(step, TAKEN_IN, "a door that keeps the rules is told of no violation");
    check(this.#instance.size <= this.#window, "no more than the window is unsettled", this.#instance.size);
  }

  #settle(): void {
    const instance = this.#instance;
    if (this.#instanceIsGone || instance.broken) return;
    if (percent(this.#random, 5)) instance.refuseRest(RefuseReason.DRAINING);
    for (let refusal = instance.nextRefusal; refusal !== undefined; refusal = instance.nextRefusal) {
      if (!this.#tell(MessageType.REFUSE, refusal.sequence)) return;
      instance.refused(refusal);
      this.fates[refusal.descriptor]!.refusedByInstance = true;
    }
    const last = instance.acknowledgeable;
    if (last === undefined || !this.#tell(MessageType.ACK, last)) return;
    this.#own(instance.acknowledge());
  }

  /** A new open count, by the last ACK again. */
  #repeat(): void {
    const last = this.#instance.acknowledged;
    if (!this.#instanceIsGone && !this.#instance.broken && last !== undefined) this.#tell(MessageType.ACK, last);
  }

  /** The instance sends. False: it could not. */
  #tell(type: number, sequence: number): boolean {
    if (this.#isShut || this.#doorIsGone) {
      this.#instance.sendFailed();
      return false;
    }
    if (percent(this.#random, 10)) return false; // EAGAIN
    this.#toDoor.push({ type, sequence, connection: -1 });
    return true;
  }

  #own(handoffs: readonly Unsettled[]): void {
    for (const { descriptor } of handoffs) {
      check(!this.fates[descriptor]!.owned, `connection ${descriptor} is owned once`);
      this.fates[descriptor]!.owned = true;
    }
  }

  #end(handoffs: readonly Unsettled[], areOwned: boolean): void {
    if (areOwned) this.#own(handoffs);
    this.#instanceIsGone = true;
    this.#toInstance = [];
  }

  #read(): void {
    if (this.#doorIsGone) return;
    const sent = this.#toDoor.shift();
    if (sent === undefined) return;
    if (sent.type === MessageType.ACK) {
      const wrong = this.#door.acknowledge(sent.sequence, (connection) => {
        this.fates[connection]!.seenOwned = true;
      });
      same(wrong, undefined, "an instance that keeps the rules is told of no violation");
    } else {
      const connection = this.#door.refuse(sent.sequence);
      check(typeof connection === "number", "a refusal is of what is outstanding", connection);
      this.fates[connection]!.takenBack = true;
    }
  }

  #shut(): void {
    this.#isShut = true;
  }

  /** What PROTOCOL.md says under "Revoking". */
  #revoke(): void {
    if (this.#doorIsGone) return;
    this.#shut();
    while (this.#toDoor.length > 0) this.#read();
    if (!this.#instanceIsGone)
      this.#toInstance.push({ type: MessageType.REVOKE, sequence: this.#door.acknowledged, connection: -1 });
    this.#takeBack();
    this.#doorIsGone = true;
  }

  #takeBack(): void {
    this.#door.takeBack((connection) => {
      check(!this.fates[connection]!.takenBack, `connection ${connection} is taken back once`);
      this.fates[connection]!.takenBack = true;
    });
    same(this.#door.outstanding, 0, "nothing is outstanding");
  }

  #dieAsDoor(): void {
    if (this.#doorIsGone) return;
    this.#killed.add("door");
    this.#doorIsGone = true;
    this.#toDoor = [];
  }

  /** What is unsettled has no receiver any more; what it owned ends with it. */
  #dieAsInstance(): void {
    if (this.#instanceIsGone) return;
    this.#killed.add("instance");
    this.#end([], false);
  }
}

export function fuzz(data: Uint8Array): void {
  const world = new World(randomOf(data));
  for (let steps = Math.min(400, 20 + data.length); steps > 0; steps--) world.step();
  world.finish();
}

export const seeds = (): Uint8Array[] => Array.from({ length: 12 }, (_, seed) => randomBytes(seededRandom(seed), 300));
