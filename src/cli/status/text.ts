/** Pieces of text for tables: numbers with their units, cells, lines of a width. */

/** 1234567 to "1.23M": at most five characters, for columns. Exact numbers are in the JSON. */
export function count(value: number): string {
  if (!Number.isFinite(value)) return "-";
  let scaled = value;
  for (const unit of ["", "k", "M", "G"]) {
    if (Math.abs(scaled) < 999.5 || (unit === "" && Math.abs(value) < 99_999.5))
      return `${digits(scaled, unit)}${unit}`;
    scaled /= 1000;
  }
  return `${digits(scaled, "T")}T`;
}

function digits(value: number, unit: string): string {
  if (unit === "") return String(Math.round(value));
  return value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0);
}

/** A second: "0", "0.25", "12.3", "1.20k". */
export function rate(value: number): string {
  if (!Number.isFinite(value)) return "-";
  if (value === 0) return "0";
  if (value < 9.995) return value.toFixed(2);
  return value < 99.95 ? value.toFixed(1) : count(value);
}

/** Milliseconds, without the unit: "0.42", "12.3", "1500". */
export function milliseconds(value: number): string {
  if (!Number.isFinite(value)) return "-";
  return value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0);
}

export function bytes(value: number): string {
  if (!Number.isFinite(value)) return "-";
  if (value < 1024) return `${value} B`;
  let scaled = value / 1024;
  for (const unit of ["KiB", "MiB"]) {
    if (scaled < 1024) return `${scaled.toFixed(1)} ${unit}`;
    scaled /= 1024;
  }
  return `${scaled.toFixed(1)} GiB`;
}

/** Seconds as the two largest units: "3d 4h", "12m 5s". */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "-";
  const whole = Math.max(0, Math.floor(seconds));
  const parts: [number, string][] = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "m"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  if (first < 0) return "0s";
  return parts
    .slice(first, first + 2)
    .map(([value, unit]) => `${value}${unit}`)
    .join(" ");
}

/** A time in ISO 8601 as the reader's clock shows it: "2026-11-24 03:07:21". */
export function clock(iso: string): string {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** One line of at most `width` characters; the middle of a longer one is left out. */
export function shorten(text: string, width: number): string {
  const line = [...text.replaceAll("\n", " ")];
  if (line.length <= width) return line.join("");
  if (width < 1) return "";
  const tail = Math.floor((width - 1) / 2);
  return `${line.slice(0, width - 1 - tail).join("")}…${tail === 0 ? "" : line.slice(-tail).join("")}`;
}

/** Parts behind a label that stands at the left; broken between parts, between words only where a part is too long. */
export function labelled(label: string, parts: readonly string[], width: number, indent = 15): string[] {
  const room = width - indent;
  const lines: string[] = [];
  let line = "";
  const add = (piece: string, separator: string) => {
    if (line !== "" && [...line, ...separator, ...piece].length > room) {
      lines.push(line + separator.trimEnd());
      line = piece;
    } else line = line === "" ? piece : line + separator + piece;
  };
  for (const [index, part] of parts.entries()) {
    // A comma follows all but the last.
    const [first = "", ...words] = [...part].length < room ? [part] : part.split(/\s+/);
    add(first, index === 0 ? " " : ", ");
    for (const word of words) add(word, " ");
  }
  lines.push(line);
  return lines.map((each, index) =>
    shorten(`${(index === 0 ? label : "").padEnd(indent - 1)} ${each}`.trimEnd(), width),
  );
}

export interface Column {
  readonly title: string;
  readonly align: "left" | "right";
}

/**
 * A table with its titles: each column as wide as its widest cell. What doesn't fit in `width` is taken from the first
 * column, of which at least a few characters stay.
 */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[], width: number): string[] {
  const all = [columns.map(({ title }) => title), ...rows];
  const widths = columns.map((_, index) => Math.max(...all.map((row) => [...(row[index] ?? "")].length)));
  const others = widths.slice(1).reduce((sum, each) => sum + each + 2, 0);
  widths[0] = Math.min(widths[0]!, Math.max(8, width - others));
  return all.map((row) =>
    shorten(
      columns
        .map(({ align }, index) => {
          const cell = shorten(row[index] ?? "", widths[index]!);
          const space = " ".repeat(widths[index]! - [...cell].length);
          return align === "left" ? cell + space : space + cell;
        })
        .join("  ")
        .trimEnd(),
      width,
    ),
  );
}
