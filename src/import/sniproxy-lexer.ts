/** sniproxy.conf -> statements: words, lines and blocks as its cfg_tokenizer.c has them. Pure. */
import { importError } from "./import-error.js";

export interface Statement {
  readonly line: number;
  /** Without quotes and backslashes. */
  readonly words: readonly string[];
  readonly block?: readonly Statement[];
}

/** Throws a HandoffError, ERR_IMPORT. */
export function readSniproxy(text: string, file: string): readonly Statement[] {
  const top: Statement[] = [];
  const open: { readonly statements: Statement[]; readonly line: number }[] = [{ statements: top, line: 1 }];
  let words: string[] = [];
  let line = 1;
  const end = () => {
    if (words.length > 0) open.at(-1)!.statements.push({ line, words });
    words = [];
  };
  let at = 1;
  const token = /(\n|\r|;)|[ \t]+|#[^\n\r]*|([{}])|((?:[^\s;#{}\\"]|\\[\s\S]|"(?:[^"\\]|\\[\s\S])*")+)|([\s\S])/gy;
  for (const [all, newline, brace, word, stray] of text.matchAll(token)) {
    if (stray !== undefined && stray.trim() !== "")
      throw importError({ file, line: at }, `found ${JSON.stringify(stray)}, which begins nothing that ends`);
    if (newline !== undefined) end();
    else if (brace === "{") {
      const block: Statement[] = [];
      open.at(-1)!.statements.push({ line: words.length === 0 ? at : line, words, block });
      open.push({ statements: block, line: at });
      words = [];
    } else if (brace === "}") {
      end();
      if (open.length === 1) throw importError({ file, line: at }, 'a "}" without its "{"');
      open.pop();
    } else if (word !== undefined) {
      if (words.length === 0) line = at;
      words.push(word.replace(/\\([\s\S])|"/g, "$1"));
    }
    for (let next = all.indexOf("\n"); next !== -1; next = all.indexOf("\n", next + 1)) at++;
  }
  end();
  if (open.length > 1) throw importError({ file, line: open.at(-1)!.line }, 'a "{" without its "}"');
  return top;
}
