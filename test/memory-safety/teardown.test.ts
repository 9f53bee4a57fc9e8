/** Worker threads and their environments, ended a thousand times with everything of the addon in use. */
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { Child } from "../support/child.js";

const fixture = fileURLToPath(new URL("../native/fixtures/teardown.mjs", import.meta.url));
/** How many, by what they and the main thread have. */
const WORKERS = { bare: 300, addon: 1000, shared: 300 };
type Mode = keyof typeof WORKERS;

interface Measured {
  /** Bytes, and numbers, at ten moments. */
  readonly resident: number[];
  readonly open: number[];
}

async function measure(mode: Mode): Promise<Measured> {
  // One arena for all threads: else the C library's own choice among several is most of what is measured.
  const env = { ...process.env, MALLOC_ARENA_MAX: "1" };
  const child = new Child(process.execPath, ["--expose-gc", fixture, String(WORKERS[mode]), mode], { env });
  expect(await child.ended, child.stderr).toEqual({ status: 0, signal: null });
  return JSON.parse(child.lines[0]!) as Measured;
}

/** Least squares over the moments behind the first two: bytes a worker. */
function slope({ resident }: Measured, workers: number): number {
  const points = resident.slice(2).map((y, i) => ({ x: (i * workers) / 10, y }));
  const mean = (of: "x" | "y") => points.reduce((sum, point) => sum + point[of], 0) / points.length;
  const [x, y] = [mean("x"), mean("y")];
  const above = points.reduce((sum, point) => sum + (point.x - x) * (point.y - y), 0);
  return above / points.reduce((sum, point) => sum + (point.x - x) ** 2, 0);
}

describe("workers that end while all of the addon is in use", () => {
  const found: Partial<Record<Mode, number>> = {};

  it.each(Object.entries(WORKERS) as [Mode, number][])("%s: %d leave no descriptors", async (mode, workers) => {
    const measured = await measure(mode);
    // From the first moment on: the sockets, whose numbers stay the same.
    expect(measured.open.filter((each) => each !== measured.open[0])).toEqual([]);
    found[mode] = slope(measured, workers);
  });

  it("leave no more memory than those without it", () => {
    const { bare, addon, shared } = found;
    console.log(
      `resident bytes a worker: bare ${bare?.toFixed(0)}, addon ${addon?.toFixed(0)}, shared ${shared?.toFixed(0)}`,
    );
    // A loop's shared memory is 40 KiB, a splicer's pipe 4 KiB and two descriptors. What the bare ones give back is no excuse,
    // nor a reproach.
    for (const each of [addon, shared]) expect(each! - Math.max(0, bare!)).toBeLessThan(4096);
  });
});
