/** For each rule there is a receiver that breaks it, and the kit finds that one rule broken and no other. */
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { conform, rules } from "../../src/conform/index.js";
import { Folder } from "../support/folder.js";

const folder = new Folder();
const program = fileURLToPath(new URL("../fixtures/rogue-receiver.mjs", import.meta.url));

/** Rules that the receiver must be started and ended for are tried only where one of these is broken: it takes a while. */
const restarting = rules.filter(({ needsStart }) => needsStart).map(({ name }) => name);

/** How long the kit waits for what does not come; if it found more than is wrong, since the machine is busy, again with more. Milliseconds. */
const TIMEOUT = 2500;
const LONG_TIMEOUT = 15_000;

/** Names of the rules that a receiver with this fault breaks. */
async function broken(fault: string, needsStart: boolean, most = 1): Promise<string[]> {
  const only = rules.map(({ name }) => name).filter((name) => needsStart || !restarting.includes(name));
  const found = await brokenOf(only, fault);
  return found.length <= most ? found : brokenOf(only, fault, LONG_TIMEOUT);
}

async function brokenOf(only: readonly string[], fault: string, timeout = TIMEOUT): Promise<string[]> {
  const path = folder.at(`${fault || "none"}.sock`);
  const failed: string[] = [];
  for await (const { rule, outcome } of conform({
    path,
    start: `exec ${process.execPath} ${program} ${path} ${fault}`,
    only,
    sockets: 40,
    serverName: "localhost",
    probe: "echo",
    timeout,
    stopSignal: "SIGTERM",
  })) {
    if (outcome !== "passed") failed.push(rule.name);
  }
  return failed;
}

test("the receiver without a fault keeps all rules", async () => {
  expect(await broken("", true, 0)).toEqual([]);
});

test("a receiver whose ACK comes before its REFUSEs breaks that rule, and takes for its own what it refuses", async () => {
  const others = rules.filter(({ name }) => /^not-tcp-|-descriptors?$/.test(name)).map(({ name }) => name);
  const found = await broken("ack-before-refuse", false, others.length + 1);
  expect(found).toContain("refuse-before-ack");
  expect(found.filter((name) => name !== "refuse-before-ack" && !others.includes(name))).toEqual([]);
});

test("a receiver that ends at its limit of descriptors breaks that rule: it is not passed over", async () => {
  expect(await brokenOf(["ack", "descriptor-limit"], "limit-outlived")).toEqual(["descriptor-limit"]);
});

describe.concurrent("a receiver that breaks one rule is found to break just that one", () => {
  const byRestarting = [...restarting, "door-leaves-early"];
  test.each(rules.map(({ name }) => name))("%s", async (name) => {
    expect(await broken(name, byRestarting.includes(name))).toEqual([name]);
  });

  test.each(["revoke-after-failed-ack", "revoke-in-queue"])("%s, though it reads its queue late", async (name) => {
    expect(await brokenOf([name], `${name}-late`)).toEqual([name]);
  });
});
