/** What a figure must not exceed, or must reach, and whether it did. Pure. */

/** @typedef {{ what: string, value: number | null, bound: number, kind: "atMost" | "atLeast", unit: string, met: boolean | null }} Bound */

/** @param {string} what @param {number | null | undefined} value null: not measured @param {number} bound @param {string} unit @returns {Bound} */
export function atMost(what, value, bound, unit) {
  const known = orNull(value);
  return { what, value: known, bound, kind: "atMost", unit, met: known === null ? null : known <= bound };
}

/** @param {string} what @param {number | null | undefined} value null: not measured @param {number} bound @param {string} unit @returns {Bound} */
export function atLeast(what, value, bound, unit) {
  const known = orNull(value);
  return { what, value: known, bound, kind: "atLeast", unit, met: known === null ? null : known >= bound };
}

/** @param {number | null | undefined} value */
function orNull(value) {
  return value === undefined || value === null || Number.isNaN(value) ? null : value;
}

/** Lines. @param {readonly Bound[]} bounds */
export function boundsText(bounds) {
  return bounds
    .map(({ what, value, bound, kind, unit, met }) => {
      const verdict = met === null ? "not measured" : met ? "met" : "NOT MET";
      const text = value === null ? "–" : String(Math.round(value * 1000) / 1000);
      return `  ${what}: ${text}${unit}, bound ${kind === "atLeast" ? "at least " : ""}${bound}${unit}: ${verdict}\n`;
    })
    .join("");
}
