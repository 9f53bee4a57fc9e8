import { expect, it } from "vitest";
import { processName } from "../../src/handoff/process-name.js";

it("names a process, and one that has no number here", () => {
  expect(processName(4711)).toBe("process 4711");
  expect(processName(0)).toBe("a process of another pid namespace");
});
