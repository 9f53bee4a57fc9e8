/** Text that a stranger chose, for logs: terminals obey control characters, and lines must stay lines. */

/** Everything but visible ASCII, and the backslash that marks an escape: \xNN. */
export function printable(text: string): string {
  return text.replace(/[^\x21-\x5b\x5d-\x7e]/g, escapeCharacter);
}

/** The control characters of ASCII: \xNN. */
export function withoutControls(text: string): string {
  return text.replace(/[\x00-\x1f\x7f]/g, escapeCharacter);
}

/**
 * What JSON allows in strings and terminals and viewers obey: DEL, C1, and what Unicode uses to break lines or turn their
 * direction. \uNNNN, which a reader of JSON turns back.
 */
export function withoutHidden(line: string): string {
  return line.replace(
    /[\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function escapeCharacter(character: string): string {
  return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
}
