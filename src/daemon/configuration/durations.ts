/** Durations as an operator writes them: `500ms`, `5s`, `2m`, `1h`. Inside the program they are milliseconds. */

const MILLISECONDS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A decimal number and a unit, without a space: `1.5s`. */
export const DURATION_PATTERN = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/;

export const DURATION_FORM = "a number with its unit ms, s, m or h, such as 500ms or 5s";

/** Milliseconds, rounded to whole ones; undefined if `text` is no duration. */
export function parseDuration(text: string): number | undefined {
  const match = DURATION_PATTERN.exec(text);
  if (match === null) return undefined;
  return Math.round(Number(match[1]) * MILLISECONDS[match[2]!]!);
}

/** The shortest way to write a whole number of milliseconds that parses to the same again. */
export function formatDuration(milliseconds: number): string {
  if (milliseconds === 0) return "0s";
  for (const unit of ["h", "m", "s"]) {
    const size = MILLISECONDS[unit]!;
    if (milliseconds % size === 0) return `${milliseconds / size}${unit}`;
  }
  return `${milliseconds}ms`;
}
