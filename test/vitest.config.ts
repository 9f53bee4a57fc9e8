import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Files that take long for their size, by which they would come late. */
const SLOW = /\/test\/(bench|conform|fuzz|systemd)\//;

/** They begin first: whichever is the last to end goes on alone. */
class SlowFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isSlow = ({ moduleId }: TestSpecification) => SLOW.test(moduleId);
    return [...sorted.filter(isSlow), ...sorted.filter((file) => !isSlow(file))];
  }
}

export default defineConfig({
  test: {
    root: new URL("..", import.meta.url).pathname,
    include: ["test/**/*.test.ts"],
    exclude: [
      "test/{interop,differential,faults,denial,memory-safety,package,soak}/**",
      "test/privilege/{from-within,in-units,peers}.test.ts",
    ],
    pool: "forks",
    maxWorkers: 2,
    sequence: { sequencer: SlowFirst },
    // For hangs, on a machine that is slow and busy too; no test relies on it.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // A summary has the message alone, without the difference: what was received is in it.
    chaiConfig: { truncateThreshold: 1000 },
  },
});
