import { createServer, type IncomingMessage } from "node:http";
import { Duplex } from "node:stream";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bytesOf, expectAtEverySplit, type HeadFacts, read, readGuarded } from "./heads.js";

const token = fc.stringMatching(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}$/);
const fieldName = token.filter((name) => name.toLowerCase() !== "host");
const value = fc.stringMatching(/^[\t\x20-\x7e\x80-\xff]{0,30}$/);
const path = fc.stringMatching(/^\/[\x21-\x7e\x80-\xff]{0,30}$/);
const label = fc.stringMatching(/^[A-Za-z0-9_-]{1,20}$/);
/** The last label keeps it from being an address. */
const host = fc
  .tuple(fc.array(label, { maxLength: 4 }), fc.constantFrom("com", "Example", "x-1"), fc.constantFrom("", "."))
  .map(([labels, last, dot]) => `${[...labels, last].join(".")}${dot}`);
const port = fc.oneof(
  fc.constant(""),
  fc.nat(65_535).map((number) => `:${number}`),
);
const blank = fc.stringMatching(/^[ \t]{0,3}$/);

const head = fc
  .record({
    method: token.filter((method) => method !== "CONNECT"),
    form: fc.constantFrom("origin", "absolute"),
    path,
    host,
    other: host,
    port,
    before: fc.array(fc.tuple(fieldName, value), { maxLength: 5 }),
    after: fc.array(fc.tuple(fieldName, value), { maxLength: 5 }),
    name: fc.constantFrom("Host", "host", "HOST", "hOsT"),
    blank,
  })
  .map(({ method, form, path, host, other, port, before, after, name, blank }) => {
    const isAbsolute = form === "absolute";
    const fields = [...before, [name, `${blank}${isAbsolute ? other : host}${port}${blank}`] as const, ...after];
    const target = isAbsolute ? `http://${host}${port}${path}` : path;
    const lines = fields.map(([field, value]) => `${field}:${value}\r\n`).join("");
    const text = `${method} ${target} HTTP/1.1\r\n${lines}\r\n`;
    return { text, path, isAbsolute, name: host.toLowerCase().replace(/\.$/, "") };
  });

const sameAs = ({ text, path, name }: { text: string; path: string; name: string }): HeadFacts => ({
  status: "done",
  name,
  ipLiteral: false,
  path,
  length: text.length,
});

describe("for every head", () => {
  test("host and path are read, at every split", () => {
    fc.assert(
      fc.property(head, (each) => {
        expect(expectAtEverySplit(each.text)).toEqual(sameAs(each));
      }),
      { numRuns: 200 },
    );
  });

  test("a change of one byte gives the same at every split, and never a name that no DNS name is", () => {
    fc.assert(
      fc.property(head, fc.nat(), fc.nat(255), ({ text }, place, byte) => {
        const bytes = bytesOf(text);
        bytes[place % bytes.length] = byte;
        const facts = expectAtEverySplit(Buffer.from(bytes).toString("latin1"));
        if (facts.status === "done") expect(facts.name).toMatch(/^(?!.*\.\.)(?!\.)[a-z0-9._-]{0,255}(?<!\.)$/);
      }),
      { numRuns: 500 },
    );
  });

  test("nothing that could end a line is in the path of a head that is done", () => {
    fc.assert(
      fc.property(head, fc.nat(), fc.constantFrom(0, 0x0a, 0x0d, 0x20, 0x09, 0x7f, 0x85), ({ text }, place, byte) => {
        const bytes = bytesOf(text);
        bytes[place % text.indexOf("\r\n")] = byte;
        const { path } = read(bytes);
        if (path !== undefined) expect(path).toMatch(/^[\x21-\x7e\x80-\xff]*$/);
      }),
      { numRuns: 500 },
    );
  });

  test("Node's parser sees the same path and host in what is done", async () => {
    await fc.assert(
      fc.asyncProperty(head, async (each) => {
        // It takes only the methods that it knows, and no bytes above 0x7f in a path.
        fc.pre(/^[\x21-\x7e]*$/.test(each.path));
        const { url, headers } = await asNodeReads(each.text.replace(/^\S+/, "GET"));
        if (each.isAbsolute) expect(new URL(url!).host).toContain(each.name);
        else {
          expect(url).toBe(each.path);
          expect(headers.host!.toLowerCase()).toContain(each.name);
        }
      }),
      { numRuns: 100 },
    );
  });

  test("what Node's parser refuses in one changed byte of the Host line is no other host here", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.nat(255), async (place, byte) => {
        const before = "GET / HTTP/1.1\r\n";
        const line = "Host: app.example.com\r\n";
        const bytes = bytesOf(`${before}${line}\r\n`);
        bytes[before.length + (place % line.length)] = byte;
        const facts = read(bytes);
        if (facts.status !== "done") return;
        const { headers } = await asNodeReads(Buffer.from(bytes).toString("latin1"));
        expect(headers.host!.toLowerCase().replace(/\.?(:\d*)?$/, "")).toBe(facts.name);
      }),
      { numRuns: 300 },
    );
  });
});

test("any bytes: no throw, no look outside, and a decision is final", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      expect(readGuarded(bytes)).toEqual(read(bytes));
      expectAtEverySplit(Buffer.from(bytes).toString("latin1"));
    }),
    { numRuns: 500 },
  );
});

/** The request as Node's own server has it. */
function asNodeReads(text: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const server = createServer((request) => resolve(request));
    server.on("clientError", reject);
    const socket = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
    server.emit("connection", socket);
    socket.push(Buffer.from(text, "latin1"));
  });
}
