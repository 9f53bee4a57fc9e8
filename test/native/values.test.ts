/** What JavaScript gives the addon, wrong in every way: a clear error each time, never a crash, nothing left open. */
import { randomInt } from "node:crypto";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { Child } from "../support/child.js";

const fixture = fileURLToPath(new URL("fixtures/values.mjs", import.meta.url));

interface Told {
  readonly name: string;
  readonly parameter?: string;
  readonly what: string;
  readonly kind?: string;
  readonly message?: string;
  readonly leftOut?: string[];
}

async function told(...args: string[]): Promise<Told[]> {
  const child = new Child(process.execPath, [fixture, ...args]);
  const ended = await child.ended;
  expect(ended, `${child.stderr}\nafter ${child.lines.at(-1)}`).toEqual({ status: 0, signal: null });
  return child.lines.map((line) => JSON.parse(line) as Told);
}

/** Thrown is the test's own exception, of a getter. */
const kinds = ["TypeError", "RangeError", "SystemCallError", "Thrown"];

function isClear({ kind, message, parameter }: Told): boolean {
  if (kind === undefined || !kinds.includes(kind)) return false;
  if (kind === "SystemCallError" || kind === "Thrown") return message !== "";
  if (message === "Illegal invocation" || message === "Watch is a class: use watch or watchMessages") return true;
  return parameter === undefined ? / must be ./.test(message!) : message!.startsWith(`${parameter} must be `);
}

describe("the addon", () => {
  it("refuses each parameter's and property's wrong values by name", async () => {
    const lines = await told("each");
    const { leftOut } = lines.pop()!;
    expect(leftOut).toEqual([]);
    expect(lines.filter((line) => !isClear(line))).toEqual([]);
    expect(lines.length).toBeGreaterThan(2000);
  });

  const seed = randomInt(2 ** 32);

  it.each(["random", "arrays"])(`is given anything at once: %s ${seed} 5000`, async (mode) => {
    const [, end] = await told(mode, String(seed), "5000");
    expect(end).toMatchObject({ left: 0 });
  });
});
