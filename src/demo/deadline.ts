/** Nothing in the demonstration waits for ever. */

/**
 * Resolves as `work` does; rejects after so many milliseconds, naming what was waited for. Doesn't keep the process
 * alive: when the demonstration is interrupted, what it waited for is of no interest.
 */
export async function within<T>(milliseconds: number, what: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const fail = () => reject(new Error(`waited ${milliseconds / 1000} s for ${what}`));
    timer = setTimeout(fail, milliseconds).unref();
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
