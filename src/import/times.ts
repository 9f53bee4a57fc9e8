/** Times: as other programs write them, and as this one does. Inside they are milliseconds. Pure. */

const UNITS: Readonly<Record<string, number>> = {
  us: 0.001,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** One number with a unit, or several ("1h 30m", "1h30m"); `unit` is that of a bare number. */
export function readTime(text: string, unit: "ms" | "s"): number | undefined {
  if (/^\d{1,15}$/.test(text)) return Number(text) * UNITS[unit]!;
  if (!/^(?:\d{1,15}(?:us|ms|[smhd])\s*)+$/.test(text)) return undefined;
  let sum = 0;
  for (const [, number, of] of text.matchAll(/(\d+)(us|ms|[smhd])/g)) sum += Number(number) * UNITS[of!]!;
  return Math.round(sum);
}

export function formatTime(milliseconds: number): string {
  if (milliseconds === 0) return "0";
  for (const unit of ["h", "m", "s"]) {
    if (milliseconds % UNITS[unit]! === 0) return `${milliseconds / UNITS[unit]!}${unit}`;
  }
  return `${milliseconds}ms`;
}

export const Limit = {
  hello: { min: 100, max: 600_000 },
  connectTimeout: { min: 10, max: 600_000 },
  idleTimeout: { min: 0, max: 2_592_000_000 },
  lifetime: { min: 0, max: 2_592_000_000 },
} as const;

/** The nearest that is allowed. */
export function clamp(milliseconds: number, { min, max }: { readonly min: number; readonly max: number }): number {
  return Math.min(Math.max(milliseconds, min), max);
}
