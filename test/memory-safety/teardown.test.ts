/** Worker threads and their environments, ended a thousand times with everything of the addon in use. */
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { Child } from "../support/child.js";

const fixture = fileURLToPath(new URL("../native/fixtures/teardown.mjs", import.meta.url));
const WORKERS = 1000;

interface Measured {
  /** Bytes, and numbers, at ten moments. */
  readonly resident: number[];
  readonly open: number[];
}

async function measure(mode: string): Promise<Measured> {
  // One arena for all threads: else the C library's own choice among several is most of what is measured.
  const env = { ...process.env, MALLOC_ARENA_MAX: "1" };
  const child = new Child(process.execPath, ["--expose-gc", fixture, String(WORKERS), mode], { env });
  expect(await child.ended, child.stderr).toEqual({ status: 0, signal: null });
  return JSON.parse(child.lines[0]!) as Measured;
}

/** Least squares over the moments behind the first two: bytes a worker. */
function slope(values: readonly number[]): number {
  const points = values.slice(2).map((y, i) => [i * (WORKERS / 10), y] as const);
  const mean = (of: 0 | 1) => points.reduce((sum, point) => sum + point[of], 0) / points.length;
  const [x, y] = [mean(0), mean(1)];
  const above = points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0);
  return above / points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0);
}

describe(`${WORKERS} workers, ended while all of the addon is in use`, () => {
  it("leave neither memory nor descriptors, whether the main thread has the addon or not", async () => {
    const bare = await measure("bare");
    const found: Record<string, number> = { bare: slope(bare.resident) };
    for (const mode of ["addon", "shared"]) {
      const { resident, open } = await measure(mode);
      // From the first moment on: the sockets, whose numbers stay the same.
      expect(open.slice(1).filter((each) => each !== open[0])).toEqual([]);
      found[mode] = slope(resident);
    }
    console.log(
      `resident bytes a worker: ${Object.entries(found)
        .map(([mode, bytes]) => `${mode} ${bytes.toFixed(0)}`)
        .join(", ")}`,
    );
    // A loop's shared memory is 40 KiB, a splicer's pipe 4 KiB and two descriptors.
    for (const mode of ["addon", "shared"]) expect(found[mode]! - found.bare!).toBeLessThan(2048);
  }, 600_000);
});
