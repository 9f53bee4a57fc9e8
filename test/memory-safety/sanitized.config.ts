import { defineConfig } from "vitest/config";

/** What exercises the C code, and can do with processes that a sanitizer slows down and that share no memory limit. */
export default defineConfig({
  test: {
    root: new URL("../..", import.meta.url).pathname,
    include: [
      "test/native/*.test.ts",
      "test/handoff/**/*.test.ts",
      "test/relay/**/*.test.ts",
      "test/preload/**/*.test.ts",
    ],
    exclude: [
      // Builds the addon itself.
      "test/native/build.test.ts",
    ],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 180_000,
    hookTimeout: 180_000,
  },
});
