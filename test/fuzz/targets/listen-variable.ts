/** SNI_HANDOFF, as the environment of a program may have it. */
import { isIP } from "node:net";
import { formatRule, type ListenRule, parseListenVariable, ruleFor } from "../../../src/backend/listen-variable.js";
import { HandoffError } from "../../../src/errors.js";
import { check, same } from "../check.js";
import { textSeeds } from "../seeds.js";

export function fuzz(data: Uint8Array): void {
  const text = Buffer.from(data).toString("utf8");
  let rules: ListenRule[];
  try {
    rules = parseListenVariable(text);
  } catch (error) {
    check(error instanceof HandoffError && error.code === "ERR_OPTION", "one kind of error", String(error));
    check(error.message.startsWith("SNI_HANDOFF: "), "which says what it is about", error.message);
    return;
  }
  for (const { address, port, path } of rules) {
    check(path.startsWith("/") && !path.includes("\0") && !path.includes(","), "an absolute path", path);
    check(Number.isInteger(port) && port >= 1 && port <= 65_535, "a port", port);
    check(address === undefined || isIP(address) !== 0, "an address", address);
    same(ruleFor(rules, address, port)?.path, expectedPath(rules, address, port), "the rule for its own address");
  }
  const written = rules.map((rule) => `${formatRule(rule)}=${rule.path}`).join(",");
  same(parseListenVariable(written), rules, "written again");
}

/** Who names no address listens on both wildcards, for which there may be rules of their own. */
function expectedPath(rules: readonly ListenRule[], address: string | undefined, port: number): string | undefined {
  const of = (wanted: string | undefined) => rules.find((rule) => rule.port === port && rule.address === wanted);
  if (address !== undefined) return of(address)?.path;
  const wildcards = rules.find((rule) => rule.port === port && ["::", "0.0.0.0"].includes(rule.address ?? ""));
  return (wildcards ?? of(undefined))?.path;
}

export const seeds = (): Uint8Array[] =>
  textSeeds(
    "443=/run/app/door.sock",
    "0.0.0.0:443=/run/a/,[::]:443=/run/b.sock, 127.0.0.1:8443=/c",
    "[fe80::1%lo]:1=/x,[0:0:0:0:0:0:0:1]:65535=/y=z",
    "[::ffff:192.0.2.1]:80=/x,80=/y",
    " ,",
  );

export const words = ["443=", "[::]:", "0.0.0.0:", "=/run/", ",", "%eth0", "::ffff:"];
