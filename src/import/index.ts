/** Other programs' configurations as this one's. Pure: text in, text out. */
import type { Draft } from "./draft.js";
import { importHaproxy } from "./haproxy.js";
import type { Reader } from "./haproxy-conditions.js";
import { importError } from "./import-error.js";
import { importNginx } from "./nginx.js";
import { formatRemark, printDraft } from "./print.js";
import { importSniRouter } from "./sni-router.js";
import { importSniproxy } from "./sniproxy.js";

export const FORMATS = ["nginx", "haproxy", "sniproxy", "sni-router"] as const;
export type Format = (typeof FORMATS)[number];

export interface Imported {
  readonly format: Format;
  /** YAML, with a comment for each remark. */
  readonly text: string;
  readonly remarks: readonly string[];
}

export interface ImportOptions {
  /** For messages. */
  readonly file: string;
  /** Guessed from the text if absent. */
  readonly from?: Format | undefined;
  /** Reads the files that HAProxy's maps and ACLs name; without it they are remarked on. */
  readonly read?: Reader;
}

/** Throws a HandoffError, ERR_IMPORT: the text is of no known format, breaks its rules, or has no route at all. */
export function importConfiguration(text: string, { file, from, read }: ImportOptions): Imported {
  const format = from ?? guessFormat(text);
  if (format === undefined) {
    const message = `looks like none of ${FORMATS.join(", ")}: say which one it is with --from`;
    throw importError({ file, line: 1 }, message);
  }
  const draft = convert(format, text.replace(/^\ufeff/, ""), file, read);
  draft.prune();
  if (draft.backends.size === 0) {
    const why = draft.remarks.map((remark) => `\n  ${formatRemark(remark)}`).join("");
    throw importError({ file, line: 1 }, `there is no route by server name in it that could be carried over${why}`);
  }
  if (draft.listeners.length === 0) {
    draft.listeners.push({ address: "[::]:443" });
    draft.remark(1, "no listener", "[::]:443 is put in its place");
  }
  return { format, text: printDraft(draft), remarks: draft.remarks.map(formatRemark) };
}

function convert(format: Format, text: string, file: string, read: Reader | undefined): Draft {
  switch (format) {
    case "nginx":
      return importNginx(text, file);
    case "haproxy":
      return importHaproxy(text, file, read);
    case "sniproxy":
      return importSniproxy(text, file);
    case "sni-router":
      return importSniRouter(text, file);
  }
}

/** By what only one of them has, at the beginning of a line. */
export function guessFormat(text: string): Format | undefined {
  if (/^[^\S\n]*(?:frontend|backend|listen|defaults|global)(?:[^\S\n]+[\w.:*-]+)*[^\S\n]*(?:#.*)?$/m.test(text))
    return "haproxy";
  if (/^[^\S\n]*(?:rules|default)[^\S\n]*:?[^\S\n]*[<{]/m.test(text)) return "sni-router";
  if (/\bssl_preread|\bproxy_pass\b|^[^\S\n]*(?:stream|http|events)[^\S\n]*\{|\$ssl_preread/m.test(text))
    return "nginx";
  if (/^[^\S\n]*(?:listen|listener|table)\b[^;{}\n]*\{/m.test(text)) return "sniproxy";
  return undefined;
}
