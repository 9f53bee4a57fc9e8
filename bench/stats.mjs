/** Figures of repeated rounds. Pure. Rounds without a figure (null) are left out. */

/**
 * @typedef {object} Summary of the rounds of one figure
 * @property {number} median
 * @property {number} min
 * @property {number} max
 * @property {number[]} rounds
 */

/** @param {readonly number[]} values @returns {number} the middle one, or between the two middle ones; NaN of none */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** @param {readonly (number | null)[]} values @returns {Summary | null} null if there is no round with a figure */
export function summarize(values) {
  const rounds = values.filter((value) => value !== null);
  if (rounds.length === 0) {
    return null;
  }
  return { median: median(rounds), min: Math.min(...rounds), max: Math.max(...rounds), rounds };
}

/**
 * How a figure compares with another one's, round by round: what disturbs the machine for a while disturbs both, so the
 * median of the rounds' ratios is steadier than the ratio of the medians.
 *
 * @param {readonly (number | null)[]} values
 * @param {readonly (number | null)[]} base figures of the same rounds
 * @returns {Summary | null}
 */
export function ratio(values, base) {
  return summarize(
    values.map((value, round) => {
      const other = base[round] ?? null;
      return value === null || other === null || other === 0 ? null : value / other;
    }),
  );
}
