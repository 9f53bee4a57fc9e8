/** What a door hears of the process that its upgrade starts, however that ends. */
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { Child } from "../../support/child.js";

const program = fileURLToPath(new URL("../../fixtures/new-process.mjs", import.meta.url));

/** The lines of a process whose new one does this. */
async function heard(what: string): Promise<readonly string[]> {
  const child = new Child(process.execPath, [program, what]);
  const { status } = await child.ended;
  expect(status, child.stderr).toBe(0);
  return child.lines;
}

const WELL = "ended with status 0; it said: ";

it("is killed with a message unread: that is its end, and no more", async () => {
  expect(await heard("is killed with a message unread")).toEqual(["prepared ", "ended with SIGKILL; it said: "]);
});

it("says all that JSON leaves as it is", async () => {
  expect(await heard("says all that JSON leaves as it is")).toEqual(["failed a%u2028b%u2029c%0Dd%0Ae", WELL]);
});

it("says much", async () => {
  expect(await heard("says much")).toEqual([`failed ${1 << 20} \u20ac`, WELL]);
});

it("leaves a process that has its standard error: that is not waited for", async () => {
  const [failed, ...end] = await heard("leaves a process that has its standard error");
  expect([failed, end]).toEqual([expect.stringMatching(/^failed \d+$/), [`${WELL}last words`]]);
});

it("says what is no message", async () => {
  expect(await heard("says what is no message")).toEqual([WELL]);
});
