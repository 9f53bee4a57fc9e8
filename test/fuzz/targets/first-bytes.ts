/** What connections begin with that is no TLS: where they go, as their bytes come one by one. */
import { FirstBytes, type FirstBytesRule, NO_RULE, UNDECIDED } from "../../../src/door/first-bytes.js";
import { check, followed, hashOf, same, surrounded } from "../check.js";
import { textSeeds } from "../seeds.js";

const text = (starts: string, backend: number): FirstBytesRule => ({
  starts: Uint8Array.from(Buffer.from(starts, "latin1")),
  text: starts,
  backend,
});
const http: FirstBytesRule = { starts: "http", text: "http", backend: 9 };

const tables = [
  [http],
  [text("SSH-", 0), http, text("S", 1), text("", 2)],
  [text("GET /special", 0), http, text("PROXY ", 1)],
  [text("\x00\x00", 0), text("\x00", 1)],
].map((rules) => ({ rules, finder: new FirstBytes(rules) }));

export function fuzz(data: Uint8Array): void {
  for (const { rules, finder } of tables) {
    const find = (bytes: Uint8Array, start: number, end: number, isEnded: boolean) => {
      const backend = finder.find(bytes, start, end, isEnded);
      return { backend, isHttp: finder.isHttp };
    };
    const whole = find(data, 0, data.length, false);
    const ended = find(data, 0, data.length, true);
    check(ended.backend !== UNDECIDED, "at the end it is decided", ended);
    const known = [NO_RULE, UNDECIDED, ...rules.map(({ backend }) => backend)];
    check(known.includes(whole.backend), "a backend of the rules", whole);
    same(whole.isHttp, whole.backend === http.backend, "whether it is HTTP");
    for (const filler of [0x20, 0x2f]) {
      const { bytes, start, end } = surrounded(data, filler);
      same(find(bytes, start, end, false), whole, `bytes of ${filler} around it change what is read`);
      if (whole.backend !== UNDECIDED) {
        const more = followed(data, filler);
        same(find(more, 0, more.length, false), whole, "bytes behind it change what is read");
        same(ended, whole, "the end changes what was decided");
      }
    }
    const cut = hashOf(data) % (data.length + 1);
    const part = find(data, 0, cut, false);
    if (part.backend !== UNDECIDED) same(part, whole, `${cut} bytes of it were decided otherwise`);
  }
}

export const seeds = (): Uint8Array[] =>
  textSeeds(
    "SSH-2.0-x\r\n",
    "GET / HTTP/1.1\r\n",
    "GET /special",
    "CONNECT a:1 HTTP/1.1",
    "PRI * HTTP/2.0\r\n\r\n",
    "PROXY TCP4 ",
    "\0\0\0",
    "UPDATEREDIRECTREF http://",
  );
