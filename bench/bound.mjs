/** What a figure must not exceed, and whether it did. Pure. */

/** @typedef {{ what: string, value: number | null, bound: number, unit: string, met: boolean | null }} Bound */

/** @param {string} what @param {number | null | undefined} value null: not measured @param {number} bound @param {string} unit @returns {Bound} */
export function atMost(what, value, bound, unit) {
  const known = value === undefined || value === null || Number.isNaN(value) ? null : value;
  return { what, value: known, bound, unit, met: known === null ? null : known <= bound };
}

/** Lines. @param {readonly Bound[]} bounds */
export function boundsText(bounds) {
  return bounds
    .map(({ what, value, bound, unit, met }) => {
      const verdict = met === null ? "not measured" : met ? "met" : "NOT MET";
      const text = value === null ? "–" : String(Math.round(value * 1000) / 1000);
      return `  ${what}: ${text}${unit}, bound ${bound}${unit}: ${verdict}\n`;
    })
    .join("");
}
