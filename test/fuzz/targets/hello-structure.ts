/** Bytes as the decisions of the hello generator: hellos that get past the first length check. */

import { check, same } from "../check.js";
import { generateHello } from "../hello-generator.js";
import { checkHello } from "../oracles/client-hello.js";
import { randomBytes, randomOf, seededRandom } from "../random.js";

export function fuzz(data: Uint8Array): void {
  const { bytes, mutation, name, alpn } = generateHello(randomOf(data));
  const facts = checkHello(bytes);
  if (mutation !== undefined) return;
  check(facts.status === "done" && facts.length === bytes.length, "a right hello is read to its end", facts);
  same(facts.serverName, name?.toLowerCase().replace(/\.$/, ""), "the name");
  same(facts.alpn, alpn, "the protocols");
}

export const seeds = (): Uint8Array[] => Array.from({ length: 20 }, (_, seed) => randomBytes(seededRandom(seed), 400));
