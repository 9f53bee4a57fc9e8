/** Whether the workers live: each repeats, in its own memory, the number that it was told last. */
import { readGauges } from "../door/gauges.js";

/** A worker that has not answered for so long is not responsive. Milliseconds. */
const UNRESPONSIVE = 2000;
/** How often that is looked at while somebody waits for the workers. Milliseconds. */
const LOOK_EVERY = 250;

/** Workers that repeat what they are told. */
export interface Beating {
  readonly memories: readonly { readonly gauges: SharedArrayBuffer }[];
  command(command: { readonly type: "ping"; readonly beat: number }): void;
}

export class Heartbeats {
  private readonly workers: Beating;
  private readonly heartbeatOf: (gauges: SharedArrayBuffer) => number;
  private beat: number = 0;
  private askedAt: number = 0;

  /** `heartbeatOf` reads the gauge in which a worker repeats the number; of the door's workers if absent. */
  constructor(workers: Beating, heartbeatOf = (gauges: SharedArrayBuffer) => readGauges(gauges).heartbeat) {
    this.workers = workers;
    this.heartbeatOf = heartbeatOf;
  }

  ping(): void {
    // Not asked again before all have answered: so the first unanswered one's age is known.
    if (this.beat > 0 && !this.repeated) return;
    this.askedAt = performance.now();
    this.workers.command({ type: "ping", beat: ++this.beat });
  }

  /** Whether all have answered the last ping. */
  get repeated(): boolean {
    return this.workers.memories.every((_, index) => this.repeats(index));
  }

  /** Whether the worker has, or still may. */
  answered(index: number): boolean {
    return this.repeats(index) || performance.now() - this.askedAt < UNRESPONSIVE;
  }

  get allAnswered(): boolean {
    return this.workers.memories.every((_, index) => this.answered(index));
  }

  /** For people: "worker 1 does not answer"; "" if all do. */
  get silence(): string {
    const silent = this.workers.memories.flatMap((_, index) => (this.answered(index) ? [] : [index]));
    return silent.length === 0
      ? ""
      : `worker${silent.length > 1 ? "s" : ""} ${silent.join(", ")} ${silent.length > 1 ? "do" : "does"} not answer`;
  }

  /** What needs every worker's answer; or `otherwise`, as soon as one of them does not live. */
  async unlessStuck<T>(answer: Promise<T>, otherwise: () => T): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const stuck = new Promise<T>((resolve) => {
      const look = () => {
        if (!this.allAnswered) resolve(otherwise());
      };
      timer = setInterval(look, LOOK_EVERY);
      look();
    });
    try {
      return await Promise.race([answer, stuck]);
    } finally {
      clearInterval(timer);
    }
  }

  private repeats(index: number): boolean {
    return this.heartbeatOf(this.workers.memories[index]!.gauges) >= this.beat;
  }
}
