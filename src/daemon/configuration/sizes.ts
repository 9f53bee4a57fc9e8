/** Sizes as an operator writes them: `16KiB`, `512B`, `1MiB`. Inside the program they are bytes. */

const BYTES: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

/** A decimal number and a unit (IEC 80000-13), without a space. */
export const SIZE_PATTERN = /^(\d+(?:\.\d+)?)(B|KiB|MiB|GiB)$/;

export const SIZE_FORM = "a number with its unit B, KiB, MiB or GiB, such as 16KiB";

/** Bytes, rounded to whole ones; undefined if `text` is no size. */
export function parseSize(text: string): number | undefined {
  const match = SIZE_PATTERN.exec(text);
  if (match === null) return undefined;
  return Math.round(Number(match[1]) * BYTES[match[2]!]!);
}

/** The shortest way to write a whole number of bytes that parses to the same again. */
export function formatSize(bytes: number): string {
  if (bytes === 0) return "0B";
  for (const unit of ["GiB", "MiB", "KiB"]) {
    const size = BYTES[unit]!;
    if (bytes % size === 0) return `${bytes / size}${unit}`;
  }
  return `${bytes}B`;
}
