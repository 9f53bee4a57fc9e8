/** `notTls` and `silent` of the configuration: where clients go that do not begin with TLS, or with anything. */
import type { Beginning, FirstBytesRule } from "../../door/first-bytes.js";
import type { SilentSettings } from "../../door/settings.js";
import type { ConfigurationInput } from "./schema.js";

export const BEGINNING_FORM =
  "http, ssh, or the first 1 to 64 bytes: text in single quotes, with \\xHH for what is not ASCII";

const LONGEST = 64;
/** RFC 4253 §4.2. */
const SSH = "SSH-";

/** What a beginning stands for; or, behind "found …", why it stands for nothing. */
export function parseBeginning(text: string): { starts: Beginning } | { fault: string } {
  if (text === "http") return { starts: "http" };
  if (text === "ssh") return { starts: Uint8Array.from(Buffer.from(SSH)) };
  const bytes: number[] = [];
  for (let at = 0; at < text.length; ) {
    const escaped = /^\\(?:x([0-9A-Fa-f]{2})|([rnt\\]))/.exec(text.slice(at, at + 4));
    if (escaped !== null) {
      const [whole, hex, letter] = escaped;
      bytes.push(hex === undefined ? ESCAPES[letter!]! : Number.parseInt(hex, 16));
      at += whole.length;
      continue;
    }
    const code = text.charCodeAt(at++);
    if (code === 0x5c) return { fault: ", with a \\ that begins nothing (allowed behind it: xHH, r, n, t, \\)" };
    // Of a character beyond ASCII nobody knows which bytes were meant.
    if (code > 0x7f) return { fault: `, with a character beyond ASCII (write its bytes, '${asUtf8(text, at - 1)}')` };
    bytes.push(code);
  }
  if (bytes.length === 0 || bytes.length > LONGEST) return { fault: `, which is ${bytes.length} bytes` };
  return { starts: Uint8Array.from(bytes) };
}

const ESCAPES: Readonly<Record<string, number>> = { r: 0x0d, n: 0x0a, t: 0x09, "\\": 0x5c };

function asUtf8(text: string, at: number): string {
  const character = String.fromCodePoint(text.codePointAt(at)!);
  return Array.from(Buffer.from(character), (byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
}

type NotTlsInput = ConfigurationInput["notTls"];

/** The backend of those whom no rule takes; undefined: none. */
export function findLastOfNotTls(notTls: NotTlsInput): string | undefined {
  return typeof notTls === "object" ? notTls.find(({ starts }) => starts === undefined)?.backend : notTls;
}

export function compileNotTls(notTls: NotTlsInput, indices: ReadonlyMap<string, number>): FirstBytesRule[] | undefined {
  if (typeof notTls !== "object") return undefined;
  return notTls.flatMap(({ starts, backend }) =>
    starts === undefined ? [] : [{ ...starts, backend: indices.get(backend)! }],
  );
}

export function compileSilent(
  silent: ConfigurationInput["silent"],
  indices: ReadonlyMap<string, number>,
): SilentSettings | undefined {
  return silent && { after: silent.after, backend: indices.get(silent.backend)! };
}
