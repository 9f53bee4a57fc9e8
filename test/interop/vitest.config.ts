import { defineConfig } from "vitest/config";

/** Other projects' programs, real and as they are: one file at a time, since they are large and some compile something. */
export default defineConfig({
  test: {
    root: new URL("../..", import.meta.url).pathname,
    include: ["test/{interop,differential,package}/**/*.test.ts"],
    pool: "forks",
    maxWorkers: 1,
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // A summary has the message alone, without the difference: what was received is in it.
    chaiConfig: { truncateThreshold: 1000 },
  },
});
