import { defineConfig } from "vitest/config";

const minutes = Number(process.env.SOAK_MINUTES);

export default defineConfig({
  test: {
    root: new URL("../..", import.meta.url).pathname,
    include: ["test/soak/**/*.test.ts"],
    pool: "forks",
    // What is not the run itself: starts, ends, and a machine that has other things to do.
    testTimeout: (minutes + 10) * 60_000,
    hookTimeout: 60_000,
    env: { TEST_PATIENCE: "180000" },
    disableConsoleIntercept: true,
  },
});
