/** Waiting for conditions. */

const INTERVAL = 2;
/** The most that counts of the time from one look to the next. What is longer, this process did not get to run. */
const LONGEST = 50;

/**
 * The first value that is not undefined or false; undefined after `timeout` milliseconds. Looks every 2 ms. Where this
 * process stands still, so may the receiver, and what has come from it meanwhile is not read yet at the first look after it.
 */
export async function eventually<T>(look: () => T | undefined | false, timeout: number): Promise<T | undefined> {
  for (let waited = 0, before = performance.now(); ; ) {
    const value = look();
    if (value !== undefined && value !== false) return value;
    if (waited > timeout) return undefined;
    await pause(INTERVAL);
    const now = performance.now();
    waited += Math.min(now - before, LONGEST);
    before = now;
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
