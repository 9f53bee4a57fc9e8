/** A run of the kit: each rule tried on the receiver, one after another. */
import { HandoffError } from "../errors.js";
import { Connections } from "./connection.js";
import type { Options } from "./options.js";
import { Receiver } from "./receiver.js";
import { Broken, type Rule, type RuleResult, Skip } from "./rule.js";
import { rules } from "./rules/index.js";
import { Stage } from "./stage.js";

/** The rules that were asked for. Throws ERR_USAGE if one of the names is none. */
export function chosenRules(only: readonly string[] | undefined): readonly Rule[] {
  const stranger = only?.find((name) => !rules.some((rule) => rule.name === name));
  if (stranger !== undefined) {
    throw new HandoffError("ERR_USAGE", `there is no rule "${stranger}"; --list shows all of them`);
  }
  return only === undefined ? rules : rules.filter(({ name }) => only.includes(name));
}

/**
 * Tries the rules, and yields each one's result as soon as it is known. Throws ERR_USAGE if the receiver is not there;
 * a receiver that was started is ended.
 */
export async function* conform(options: Options): AsyncGenerator<RuleResult> {
  const chosen = chosenRules(options.only);
  const receiver = new Receiver(options.path, options.start, options.timeout);
  const connections = new Connections();
  /** What rules that were kept have handed over. */
  const given = new Map<string, string>();
  let before: Rule | undefined;
  try {
    await receiver.begin();
    for (const rule of chosen) {
      const stage = new Stage(options, receiver, connections, given);
      const result = await tryRule(rule, stage, before);
      before = rule;
      if (result.outcome === "passed") {
        for (const [identity, what] of stage.given) given.set(identity, `${what} of the rule ${rule.name}`);
      }
      yield result;
    }
  } finally {
    await receiver.end();
    process.removeListener("exit", receiver.abandon);
    connections.close();
  }
}

/** A receiver that the rule before has ended is started again. */
async function beThere(receiver: Receiver, before: Rule | undefined): Promise<void> {
  if (receiver.command === undefined) return;
  const isInDoubt = before?.needsStart === true || !receiver.isAlive;
  if (before?.ends !== true && (!isInDoubt || (await receiver.isThere()))) return;
  try {
    await receiver.startAfresh();
  } catch (error) {
    throw new Broken(`a receiver that starts again after the rule ${before?.name}`, (error as Error).message);
  }
}

async function tryRule(rule: Rule, stage: Stage, before: Rule | undefined): Promise<RuleResult> {
  const begun = performance.now();
  const end = (outcome: RuleResult["outcome"], details: Partial<RuleResult> = {}): RuleResult => {
    return { rule, outcome, milliseconds: Math.round(performance.now() - begun), ...details };
  };
  if (rule.needsStart && stage.receiver.command === undefined) return end("skipped", { reason: "needs --start" });
  try {
    await beThere(stage.receiver, before);
    await rule.run(stage);
    return end("passed");
  } catch (error) {
    if (error instanceof Skip) return end("skipped", { reason: error.message });
    if (error instanceof Broken) return end("failed", { expected: error.expected, got: error.got });
    return end("failed", { expected: rule.says, got: (error as Error).message });
  } finally {
    stage.close();
  }
}
