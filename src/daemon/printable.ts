/** Text that a stranger chose, for logs: terminals obey control characters, and lines must stay lines. */

/** Everything but visible ASCII, and the backslash that marks an escape: \xNN. */
export function printable(text: string): string {
  return text.replace(/[^\x21-\x5b\x5d-\x7e]/g, escapeCharacter);
}

/** Control characters (C0, DEL, C1), and what Unicode uses to break lines or turn their direction: \xNN, \uNNNN. */
export function withoutControls(text: string): string {
  return text.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, escapeCharacter);
}

function escapeCharacter(character: string): string {
  const code = character.charCodeAt(0);
  const hex = code.toString(16);
  return code < 0x100 ? `\\x${hex.padStart(2, "0")}` : `\\u${hex.padStart(4, "0")}`;
}
