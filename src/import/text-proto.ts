/** Protocol buffers' text format -> fields, without a schema: as much of it as configurations are written in. Pure. */
import { importError } from "./import-error.js";

export interface Field {
  readonly name: string;
  readonly line: number;
  /** A string, or a number or name as it is written. */
  readonly value: string | Message;
}

export type Message = readonly Field[];

/** Throws a HandoffError, ERR_IMPORT. */
export function readTextProto(text: string, file: string): Message {
  const top: Field[] = [];
  const open: { readonly fields: Field[]; readonly end: string; readonly line: number }[] = [
    { fields: top, end: "", line: 1 },
  ];
  /** A field's name that waits for its value. */
  let name: { readonly text: string; readonly line: number; readonly hasColon: boolean } | undefined;
  /** The last field if it is a string: another one behind it is its continuation. */
  let last: { name: string; line: number; value: string } | undefined;
  for (const { kind, text: token, line } of tokens(text, file)) {
    const wrong = () => importError({ file, line }, `found ${JSON.stringify(token)} where it cannot be`);
    const { fields, end } = open.at(-1)!;
    if (kind === "string" && last !== undefined && name === undefined) {
      last.value += token;
      continue;
    }
    last = undefined;
    if (kind === "mark" && (token === "<" || token === "{")) {
      if (name === undefined) throw wrong();
      const inner: Field[] = [];
      fields.push({ name: name.text, line: name.line, value: inner });
      open.push({ fields: inner, end: token === "<" ? ">" : "}", line });
      name = undefined;
    } else if (kind === "mark" && (token === ">" || token === "}")) {
      if (token !== end || name !== undefined) throw wrong();
      open.pop();
    } else if (token === ":" && kind === "mark") {
      if (name === undefined || name.hasColon) throw wrong();
      name = { ...name, hasColon: true };
    } else if (kind === "mark" && (token === "," || token === ";")) {
      if (name !== undefined) throw wrong();
    } else if (name === undefined) {
      if (kind !== "word") throw wrong();
      name = { text: token, line, hasColon: false };
    } else {
      if (!name.hasColon || kind === "mark") throw wrong();
      const field = { name: name.text, line: name.line, value: token };
      fields.push(field);
      if (kind === "string") last = field;
      name = undefined;
    }
  }
  if (open.length > 1)
    throw importError({ file, line: open.at(-1)!.line }, `a message that is not ended by "${open.at(-1)!.end}"`);
  if (name !== undefined) throw importError({ file, line: name.line }, `"${name.text}" has no value`);
  return top;
}

interface Token {
  readonly kind: "word" | "string" | "mark";
  readonly text: string;
  readonly line: number;
}

function* tokens(text: string, file: string): Generator<Token> {
  const token =
    /(\n)|[^\S\n]+|#[^\n]*|"((?:[^"\\\n]|\\[^\n])*)"|'((?:[^'\\\n]|\\[^\n])*)'|([A-Za-z0-9_.+-]+)|([<>{}:,;])|([\s\S])/gy;
  let line = 1;
  for (const [, newline, double, single, word, mark, stray] of text.matchAll(token)) {
    const string = double ?? single;
    if (newline !== undefined) line++;
    else if (string !== undefined) yield { kind: "string", text: unescaped(string), line };
    else if (word !== undefined) yield { kind: "word", text: word, line };
    else if (mark !== undefined) yield { kind: "mark", text: mark, line };
    else if (stray !== undefined)
      throw importError({ file, line }, `found ${JSON.stringify(stray)}, which begins nothing that can be read`);
  }
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };

function unescaped(string: string): string {
  return string.replace(/\\(?:x([0-9a-f]{1,2})|([0-7]{1,3})|([\s\S]))/gi, (_, hex, octal, character) => {
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
    if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8) & 0xff);
    return ESCAPES[character] ?? character;
  });
}
