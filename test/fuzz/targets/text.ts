/** Text that a stranger chose, on its way into logs, metrics and terminals. */
import { clean, cleanText } from "../../../src/daemon/control/clean.js";
import { printable, withoutControls, withoutHidden } from "../../../src/daemon/printable.js";
import { normaliseName, quote } from "../../../src/routing/name.js";
import { check, NAME, same } from "../check.js";
import { textSeeds } from "../seeds.js";

export function fuzz(data: Uint8Array): void {
  const bytes = Buffer.from(data);
  checkText(bytes.toString("latin1"));
  checkText(bytes.toString("utf8"));
  // Lone surrogates too.
  if (bytes.length % 2 === 0) checkText(bytes.toString("utf16le"));
}

function checkText(text: string): void {
  // Of latin1: what clients sent.
  const latin1 = Buffer.from(text, "latin1").toString("latin1");
  const shown = printable(latin1);
  check(/^[\x21-\x7e]*$/.test(shown), "visible ASCII", shown);
  same(
    shown.replace(/\\x([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    latin1,
    "read back",
  );
  check(!/[\x00-\x1f\x7f]/.test(withoutControls(text)), "no control characters", withoutControls(text));

  const line = withoutHidden(JSON.stringify({ text }));
  check(!/[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\n]/.test(line), "nothing hidden in a line of the log", line);
  same((JSON.parse(line) as { text: string }).text, text, "read back");

  const cleaned = cleanText(text);
  check(!/[^\P{C}\n]|[\p{Zl}\p{Zp}]/u.test(cleaned), "nothing that a terminal obeys", cleaned);
  same(cleanText(cleaned), cleaned, "clean text stays as it is");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {}
  // As the client of a control socket does with an answer.
  const told = JSON.stringify(clean(value)) ?? "";
  check(!/[^\P{C}\n]|[\p{Zl}\p{Zp}]/u.test(told), "nothing that a terminal obeys in an answer", told);

  const normalised = normaliseName(text);
  if (!normalised.ok) check(!/[\x00-\x1f]/.test(normalised.message), "a fault in one line", normalised.message);
  else check(NAME.test(normalised.name.replace(/^\*\./, "")), "a name in its one form", normalised.name);
  check(quote(text).length <= 6 * 80 + 2, "not longer than can be shown", quote(text));
}

export const seeds = (): Uint8Array[] =>
  textSeeds(
    "a\x1b[31mb",
    "\xc2\x9b31m",
    '{"a\\u001b":["\\u2028",1]}',
    "\xe2\x80\xae",
    "App.Example.com.",
    "*.b\xc3\xbccher.example",
    "\\x41",
  );

export const words = ["\x1b[", "\xc2\x9b", "\xe2\x80\xa8", "\xed\xa0\x80", "\\u202e", '{"', "xn--", "http://"];
