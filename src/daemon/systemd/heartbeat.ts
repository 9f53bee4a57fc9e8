/** Whether every worker still takes commands: each writes the number of the last ping into its gauges. */
import { readGauges } from "../../door/gauges.js";
import type { Workers } from "../workers.js";

export class Heartbeat {
  private readonly workers: Pick<Workers, "memories" | "command">;
  private beat: number = 0;

  constructor(workers: Pick<Workers, "memories" | "command">) {
    this.workers = workers;
  }

  ping(): void {
    this.beat++;
    this.workers.command({ type: "ping", beat: this.beat });
  }

  /** Whether all have answered the last ping. */
  answered(): boolean {
    return this.workers.memories.every(({ gauges }) => readGauges(gauges).heartbeat === this.beat);
  }
}
