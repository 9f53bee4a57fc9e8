/** Routes with conditions and patterns of a checked configuration, to the form that the workers use. */
import { compileBlocks } from "../../door/address-blocks.js";
import type { AddressList, RoutingRules, RuleSettings } from "../../door/settings.js";
import { FIRST_RULES_TARGET, PATTERNS_TARGET } from "../../routing/table.js";
import type { WrittenBlock } from "./address-block.js";
import type { Outline } from "./outline.js";
import type { ConfigurationInput, IncludedInput, RuleInput, TargetInput } from "./schema.js";
import type { Source } from "./source.js";

export interface CompiledRouting {
  readonly rules: RoutingRules;
  /** As the route table has them. */
  readonly defaultTarget: number;
  readonly noServerNameTarget: number;
}

export interface RoutingInput {
  readonly input: ConfigurationInput;
  /** What each file says. */
  readonly inputs: ReadonlyMap<Source, IncludedInput>;
  readonly outline: Outline;
  /** Backends by name. */
  readonly indices: ReadonlyMap<string, number>;
  /** The backend of those whom no route takes. */
  readonly lastTarget: number;
}

/** The lists of routes come first, in the order of the outline: routes.ts has numbered them so. */
export function compileRouting({ input, inputs, outline, indices, lastTarget }: RoutingInput): CompiledRouting {
  const target = (name: string) => indices.get(name)!;
  const lists = outline.routes
    .filter(({ backend }) => backend === undefined)
    .map(({ source, name }) => compileRules(inputs.get(source)!.routes[name]!, target));
  const targetOf = (written: TargetInput | undefined, otherwise: number) => {
    if (written === undefined) return otherwise;
    if (typeof written === "string") return target(written);
    return FIRST_RULES_TARGET + lists.push(compileRules(written, target)) - 1;
  };
  const defaultTarget = targetOf(input.default, lastTarget);
  const noServerNameTarget = targetOf(input.noServerName, defaultTarget);
  const patterns = input.patterns.map(({ match, ...rule }) => ({ match, ...compileRule(rule, target) }));
  return {
    rules: { lists, patterns, defaultTarget, lastTarget },
    defaultTarget: patterns.length > 0 ? PATTERNS_TARGET : defaultTarget,
    noServerNameTarget,
  };
}

function compileRules(written: TargetInput, target: (name: string) => number): RuleSettings[] {
  const rules = typeof written === "string" ? [{ backend: written }] : [written].flat();
  return rules.map((rule) => compileRule(rule, target));
}

function compileRule(
  { backend, alpn, clients, tls, access }: RuleInput,
  target: (name: string) => number,
): RuleSettings {
  return {
    backend: target(backend),
    alpn: alpn === undefined ? undefined : [alpn].flat().map((protocol) => new TextEncoder().encode(protocol)),
    clients: clients && compileList(clients),
    tls: tls && [tls].flat().map(versionNumber),
    access: access && {
      allow: access.allow && compileList(access.allow),
      deny: access.deny && compileList(access.deny),
      reject: access.reject,
    },
  };
}

function compileList(written: WrittenBlock | readonly WrittenBlock[]): AddressList {
  const blocks = [written].flat();
  return { ...compileBlocks(blocks), written: blocks.map(({ text }) => text) };
}

/** "1.3" is 0x0304: RFC 8446 §4.1.2. */
export function versionNumber(version: string): number {
  return 0x0301 + Number(version.slice(2));
}
