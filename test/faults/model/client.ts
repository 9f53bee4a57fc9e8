/** A client of the model: does what its plan says, and tells what it saw. */
import { connect, type Socket } from "node:net";
import type { Plan } from "./plan.js";
import { now, sleep } from "./time.js";

/** What a client saw. */
export interface Seen {
  readonly plan: Plan;
  readonly begun: number;
  readonly ended: number;
  /** Lines of answers, whole ones. */
  readonly answers: readonly string[];
  /** Everything that it received. */
  readonly received: Buffer;
  /** "own": it went by itself; "FIN"; "timeout": it gave up; or an error's code. */
  readonly end: string;
}

/** Longer than everything that may take long. Milliseconds. */
const PATIENCE = 150_000;

/** Never rejects. */
export async function play(plan: Plan, port: number): Promise<Seen> {
  const begun = now();
  const socket = connect({ port, host: "127.0.0.1", localAddress: plan.address, noDelay: true, allowHalfOpen: true });
  const parts: Buffer[] = [];
  let lines = 0;
  let onLine = () => {};
  socket.on("data", (data) => {
    parts.push(data);
    for (const byte of data) if (byte === 10) lines++;
    onLine();
  });
  const ended = new Promise<string>((resolve) => {
    socket.once("end", () => resolve("FIN"));
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    socket.setTimeout(PATIENCE, () => resolve("timeout"));
  });
  let end: string | undefined;
  const over = ended.then((how) => {
    end = how;
    onLine();
  });
  const answered = (count: number) =>
    new Promise<void>((resolve) => {
      onLine = () => {
        if (lines >= count || end !== undefined) resolve();
      };
      onLine();
    });

  await Promise.race([new Promise<void>((resolve) => socket.once("connect", resolve)), over]);
  for (let i = 0; i < plan.pieces.length && end === undefined; i++) {
    if (plan.pauses[i]! > 0) await Promise.race([sleep(plan.pauses[i]!), over]);
    if (end === undefined) socket.write(plan.pieces[i]!);
  }
  for (let i = 0; i < plan.requests.length && end === undefined; i++) {
    if (plan.requests[i]! > 0) await Promise.race([sleep(plan.requests[i]!), over]);
    if (end !== undefined) break;
    socket.write(`${i + 1}\n`);
    if (plan.kind === "asks") await answered(i + 1);
  }
  if (plan.kind === "refused") await over;
  const received = Buffer.concat(parts);
  const answers = received.toString("latin1").split("\n").slice(0, -1);
  // Answered to the last line: what comes behind it does not matter.
  const isDone = plan.kind === "asks" ? answers.length >= plan.requests.length : plan.kind !== "refused";
  const how = isDone && end === undefined ? "own" : (end ?? "own");
  leave(socket, plan);
  return { plan, begun, ended: now(), answers, received, end: how };
}

function leave(socket: Socket, { kind, end }: Plan): void {
  socket.removeAllListeners("error");
  socket.on("error", () => {});
  if (kind !== "asks" && end === "RST") socket.resetAndDestroy();
  else socket.destroySoon(); // what was written is sent before
}
