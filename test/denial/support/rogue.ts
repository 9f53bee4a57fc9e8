/** An instance that harms on purpose: fixtures/rogue.c. */
import { encodeReady } from "../../../src/handoff/message.js";
import { Child } from "../../support/child.js";

/** The largest that is allowed: it may keep as many connections as an instance can. */
const WINDOW = 128;

export async function startRogue(
  program: string,
  path: string,
  behaviour: string,
  { count = 0, prefix = [] as readonly string[] } = {},
): Promise<Child> {
  const bytes = Buffer.alloc(64);
  const ready = bytes.subarray(0, encodeReady(bytes, 0, { window: WINDOW, weight: 65_535 })).toString("hex");
  const [command, ...args] = [...prefix, program, path, behaviour, ready, `${count}`];
  const rogue = new Child(command!, args);
  await rogue.line("the rogue's being ready", (line) => line === '{"ready":true}');
  return rogue;
}
