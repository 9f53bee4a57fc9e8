/** Waiting for conditions, never for durations. */

/** Milliseconds: what only a hang takes, on a machine that is slow and busy too. A long run beside other work is more patient. */
const PATIENCE = Number(process.env.TEST_PATIENCE ?? 60_000);

/** Resolves to the first value that is not undefined or false; looks again every few milliseconds. */
export async function until<T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
  timeout = PATIENCE,
): Promise<T> {
  const deadline = performance.now() + timeout;
  for (;;) {
    const value = await look();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > deadline) throw new Error(`waited ${timeout} ms in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
