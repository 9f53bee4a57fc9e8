/** Bounds of time on a machine that has other things to do: of several trials one is quick. */

/**
 * Makes trials until what one measures is below `bound`. Right is one that what is wrong never gets below, since a timer
 * or a loop keeps it above. Fails if none of them is.
 */
export async function below(
  what: string,
  bound: number,
  trial: (count: number) => number | Promise<number>,
  trials = 10,
): Promise<void> {
  const measured: number[] = [];
  for (let count = 1; count <= trials; count++) {
    const each = await trial(count);
    if (each < bound) return;
    measured.push(each);
  }
  throw new Error(`${what}: never below ${bound} in ${trials} trials, but ${measured.map(Math.round).join(", ")}`);
}
