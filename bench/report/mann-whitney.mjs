/**
 * The Mann-Whitney U test (H. B. Mann, D. R. Whitney, 1947): how likely two sets of rounds differ by as much in their ranks
 * if nothing has changed. It asks nothing of how rounds are distributed. Pure.
 */

/** Above so many figures in all, the normal distribution stands for the exact one. */
const EXACT = 40;

/** @param {readonly number[]} a @param {readonly number[]} b @returns {number} two-sided p, 0 to 1; 1 if one is empty */
export function mannWhitney(a, b) {
  if (a.length === 0 || b.length === 0) {
    return 1;
  }
  const ranks = doubledRanks([...a, ...b]);
  const sum = ranks.slice(0, a.length).reduce((all, rank) => all + rank, 0);
  return ranks.length <= EXACT ? exact(ranks, a.length, sum) : normal(ranks, a.length, sum);
}

/** Ranks from 2 on in steps of 2, so that those of equal figures, their mean, are whole too. @param {readonly number[]} values */
function doubledRanks(values) {
  return values.map((value) => {
    const below = values.filter((other) => other < value).length;
    const equal = values.filter((other) => other === value).length;
    return 2 * below + equal + 1;
  });
}

/** Share of all choices of `size` ranks whose sum is as far from the middle. @param {number[]} ranks @param {number} size @param {number} sum */
function exact(ranks, size, sum) {
  const total = ranks.reduce((all, rank) => all + rank, 0);
  // ways[n][s]: choices of n ranks with the sum s
  const ways = Array.from({ length: size + 1 }, () => new Float64Array(total + 1));
  ways[0][0] = 1;
  for (const rank of ranks) {
    for (let chosen = size; chosen > 0; chosen--) {
      for (let s = total; s >= rank; s--) {
        ways[chosen][s] += ways[chosen - 1][s - rank];
      }
    }
  }
  const middle = (total * size) / ranks.length;
  let all = 0;
  let asFar = 0;
  ways[size].forEach((number, s) => {
    all += number;
    asFar += Math.abs(s - middle) >= Math.abs(sum - middle) ? number : 0;
  });
  return asFar / all;
}

/** @param {number[]} ranks @param {number} size @param {number} sum */
function normal(ranks, size, sum) {
  const count = ranks.length;
  const mean = ranks.reduce((all, rank) => all + rank, 0) / count;
  const spread = ranks.reduce((all, rank) => all + (rank - mean) ** 2, 0) / (count - 1);
  const deviation = Math.sqrt((spread * size * (count - size)) / count);
  return deviation === 0 ? 1 : Math.min(1, 2 * upperTail(Math.abs(sum - mean * size) / deviation));
}

/** Of the standard normal distribution, to 1e-7 (Abramowitz and Stegun, 26.2.17). @param {number} z not negative */
function upperTail(z) {
  const t = 1 / (1 + 0.2316419 * z);
  const polynomial = t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  return (Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)) * polynomial;
}
