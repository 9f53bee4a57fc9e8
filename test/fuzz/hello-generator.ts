/**
 * Makes ClientHellos: right ones of every shape that clients send, and such with one thing wrong. Pure: the same
 * numbers give the same bytes, so that a seed (random.ts) is enough to make a hello again.
 */
import { byteMutations, recordMutations, structureMutations } from "./hello-generator/mutations.js";
import { draftHello } from "./hello-generator/valid.js";
import { cut, encode, encodeRecords } from "./hello-generator/wire.js";
import { percent, pick, type Random } from "./random.js";

export interface GeneratedHello {
  readonly bytes: Uint8Array;
  /** Which of MUTATIONS was done; undefined: none, and every server should take it. */
  readonly mutation: string | undefined;
  /** Without a mutation: the name as it is sent. */
  readonly name: string | undefined;
  /** Without a mutation: the protocols as they are sent, one character a byte. */
  readonly alpn: readonly string[];
}

/** What can be wrong, by its name. Many of these leave a hello that is still right. */
export const MUTATIONS: readonly string[] = [structureMutations, recordMutations, byteMutations].flatMap(Object.keys);

/** Of a hundred hellos. */
const MUTATED = 75;

/** `mutation`: one of MUTATIONS, or "none"; chance decides if it is absent. */
export function generateHello(random: Random, mutation?: string): GeneratedHello {
  const draft = draftHello(random);
  const isMutated = mutation === undefined ? percent(random, MUTATED) : mutation !== "none";
  const chosen = isMutated ? (mutation ?? pick(random, MUTATIONS)) : "none";

  structureMutations[chosen]?.(draft, random);
  let records = cut(encode(draft.message), draft.recordSizes, draft.recordVersion);
  records = recordMutations[chosen]?.(records, random) ?? records;
  let bytes = encodeRecords(records);
  bytes = byteMutations[chosen]?.(bytes, random) ?? bytes;
  return { bytes, mutation: isMutated ? chosen : undefined, name: draft.name, alpn: draft.alpn };
}
