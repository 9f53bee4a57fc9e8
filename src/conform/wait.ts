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

/** Resolves with `promise`, or after `timeout` milliseconds. Leaves no timer that would keep the process from its end. */
export async function within(promise: Promise<void>, timeout: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, timeout);
  });
  await Promise.race([promise, late]);
  clearTimeout(timer);
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
