import { defineConfig } from "vitest/config";

/** What is too long for `npm test`: one file at a time, since each has the machine for itself. */
export default defineConfig({
  test: {
    root: new URL("../..", import.meta.url).pathname,
    include: ["test/{faults,denial,memory-safety}/**/*.test.ts", "test/privilege/{from-within,in-units,peers}.test.ts"],
    pool: "forks",
    maxWorkers: 1,
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // A summary has the message alone, without the difference: what was received is in it.
    chaiConfig: { truncateThreshold: 1000 },
  },
});
