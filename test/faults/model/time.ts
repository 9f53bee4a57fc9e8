/** Times that all processes of a run have in common, whatever becomes of the clock: CLOCK_MONOTONIC, in milliseconds. */
export function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

export function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
