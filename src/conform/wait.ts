/** Waiting for conditions. */

const INTERVAL = 2;

/** The first value that is not undefined or false; undefined after `timeout` milliseconds. Looks every 2 ms. */
export async function eventually<T>(look: () => T | undefined | false, timeout: number): Promise<T | undefined> {
  const deadline = performance.now() + timeout;
  for (;;) {
    const value = look();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > deadline) return undefined;
    await pause(INTERVAL);
  }
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
