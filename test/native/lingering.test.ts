import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { Child } from "../support/child.js";

const fixture = fileURLToPath(new URL("fixtures/teardown.mjs", import.meta.url));

// Node unloads an addon with the last worker that has it; the thread that closes what lingers is still in its code.
it("a worker that alone has the addon may end while a close of its lingers", async () => {
  const child = new Child(process.execPath, [fixture, "lingering"]);
  expect(await child.ended, child.stderr).toEqual({ status: 0, signal: null });
  expect(child.lines).toEqual(["closed"]);
});
