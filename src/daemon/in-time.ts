/** Waiting with an end. */

/** setTimeout takes no more. Milliseconds. */
const LONGEST = 0x7fffffff;

/** undefined: not within `patience` milliseconds. Doesn't keep the process alive. */
export async function inTime<T>(value: Promise<T>, patience: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, Math.min(patience, LONGEST), undefined).unref();
  });
  try {
    return await Promise.race([value, late]);
  } finally {
    clearTimeout(timer);
  }
}
