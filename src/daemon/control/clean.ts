/** Text of another process, made safe for a terminal: names of files and of clients' making are in it. */

/** Control, format (direction marks) and unassigned characters, lone surrogates, and other ends of lines than \n. */
const UNSAFE = /[^\P{C}\n]|[\p{Zl}\p{Zp}]/gu;

/** Each character that is not safe becomes "?"; a tab becomes a space. */
export function cleanText(text: string): string {
  return text.replaceAll("\t", " ").replaceAll("\r\n", "\n").replace(UNSAFE, "?");
}

/** The same, in one line. */
export function cleanLine(text: string): string {
  return cleanText(text).replaceAll("\n", "?");
}

/** All strings in a value as JSON.parse gives it, names of properties as well. */
export function clean(value: unknown, cleanString: (text: string) => string = cleanText): unknown {
  if (typeof value === "string") return cleanString(value);
  if (Array.isArray(value)) return value.map((each) => clean(each, cleanString));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [cleanString(key), clean(each, cleanString)]));
}
