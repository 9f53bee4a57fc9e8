/** Whatever is imported: a configuration that the checker takes, or one kind of error; in a time that grows with the text. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { loadConfiguration } from "../../src/daemon/configuration/index.js";
import { HandoffError } from "../../src/errors.js";
import { FORMATS, type Format, guessFormat, type Imported, importConfiguration } from "../../src/import/index.js";
import { Folder } from "../support/folder.js";

const folder = new Folder();

/** undefined: the one error that may be. */
function tryImport(text: string, from?: Format): Imported | undefined {
  try {
    return importConfiguration(text, { file: "x.conf", from, read: (path) => (path === "list" ? text : undefined) });
  } catch (error) {
    expect(error).toBeInstanceOf(HandoffError);
    expect(error).toMatchObject({ code: "ERR_IMPORT", message: expect.stringMatching(/^x\.conf:\d+: /) });
    return undefined;
  }
}

const common = [
  "a.example",
  "*.example",
  ".example",
  "10.0.0.1:443",
  "[::1]:443",
  "unix:/run/x",
  "443",
  "\n",
  " ",
  '"',
  "'",
  "\\",
  "#",
  "{",
  "}",
  ";",
  "\u2028",
  "\ud800",
  "é",
  "\0",
];
const words: Readonly<Record<Format, readonly string[]>> = {
  nginx: [
    "stream",
    "server",
    "map",
    "upstream",
    "$ssl_preread_server_name",
    "$ssl_preread_alpn_protocols",
    "$n",
    "hostnames;",
    "default",
    "listen",
    "proxy_pass",
    "ssl_preread on;",
    "proxy_protocol on;",
    "~^a.*b$",
    "~*x",
    "mail.*",
    "include",
    "allow",
    "deny all;",
    "proxy_timeout 1h;",
    "least_conn;",
    "backup",
    "proxy_protocol",
  ],
  haproxy: [
    "frontend f\n",
    "backend b\n",
    "listen l\n",
    "defaults\n",
    "mode tcp\n",
    "bind :443",
    "accept-proxy",
    "use_backend b if",
    "default_backend b\n",
    "acl a",
    "req.ssl_sni",
    "-m end",
    "-m reg",
    "-f list",
    "-i",
    "!",
    "||",
    "src",
    "req.ssl_alpn h2",
    "server s",
    "send-proxy",
    "%[req.ssl_sni,lower,map(list,b)]",
    "unless",
    "backup",
    "timeout client 5s\n",
    "balance leastconn\n",
    "tcp-request content reject if",
  ],
  sniproxy: [
    "listener",
    "table",
    "fallback",
    "proto tls\n",
    "proto http\n",
    "proxy_header yes\n",
    "use_proxy_header yes\n",
    "^a\\\\.b$",
    ".*",
    "*:443",
    "resolver",
    "t",
  ],
  "sni-router": [
    "rules: <",
    "default: <",
    "backend: <",
    "proxy: <",
    "pass: <",
    "null: <>",
    "acl: <",
    ">",
    "regex:",
    "addr:",
    "path:",
    "source:",
    "action: ACCEPT",
    "action: CONTINUE",
    "default_action: DROP",
    '"a[.]example"',
    '"10.0.0.0/8"',
    '"localhost:1"',
    "sorry: <",
    "frontend_tls: <>",
    "max_lifetime_ms: 5",
    ",",
    ":",
  ],
};

const soup = (from: Format) =>
  fc.array(fc.constantFrom(...words[from], ...common), { maxLength: 60 }).map((parts) => parts.join(" "));

describe.each(FORMATS)("%s", (from) => {
  test("any text: an error of one kind, or YAML", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: "binary", maxLength: 300 }), soup(from)), (text) => {
        const imported = tryImport(text, from);
        if (imported !== undefined) expect(parse(imported.text)).toHaveProperty("backends");
      }),
      { numRuns: 250 },
    );
  });
});

test("any text of no known kind", () => {
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 300 }), (text) => void tryImport(text)));
});

/** Configurations that are one as a whole, with odd parts in it. */
const name = fc.oneof(
  fc.constantFrom(
    "a.example",
    "*.example",
    "b.example",
    "*.b.example",
    "",
    "x y",
    "é.example",
    "127.0.0.1",
    "a..b",
    "*",
  ),
  fc.stringMatching(/^[a-z*.~^$\\]{1,8}$/),
);
const target = fc.constantFrom(
  "10.0.0.1:443",
  "[::1]:1",
  "unix:/run/x.sock",
  "host:0",
  "nohost",
  "up",
  "$x",
  "a_b.internal:9",
);
const quote = (text: string) => `"${text.replace(/["\\]/g, "\\$&")}"`;
const entries = fc.array(fc.tuple(name, target), { maxLength: 12 });

const whole: Readonly<Record<Format, fc.Arbitrary<string>>> = {
  nginx: fc.tuple(entries, fc.boolean(), target).map(
    ([list, hostnames, last]) => `upstream up { server 10.0.0.1:1; server unix:/run/y backup; }
map $ssl_preread_server_name $n { ${hostnames ? "hostnames; " : ""}${list.map(([text, to]) => `${quote(text)} ${quote(to)};`).join(" ")} default ${last}; }
server { listen 443; listen [::]:443; ssl_preread on; proxy_pass $n; proxy_protocol on; }`,
  ),
  haproxy: fc
    .tuple(
      fc.array(
        fc.tuple(
          name,
          fc.constantFrom("str", "end", "beg", "sub", "dom", "reg"),
          fc.constantFrom("b", "c", "d"),
          fc.constantFrom("", "{ src 10.0.0.0/8 }", "{ req.ssl_alpn h2 }", "!{ req.ssl_hello_type 1 }"),
        ),
        { maxLength: 12 },
      ),
      target,
    )
    .map(
      ([list, to]) => `frontend f
 bind :443
${list.map(([text, method, backend, more]) => ` use_backend ${backend} if { req.ssl_sni -m ${method} -- ${quote(text)} } ${more}\n`).join("")} default_backend c
backend b
 server s ${to}
backend c
 server s 127.0.0.1:1 send-proxy`,
    ),
  sniproxy: fc.tuple(entries, target, fc.boolean()).map(
    ([list, last, fallback]) => `listener 443 {
 table t
${fallback ? ` fallback ${last}\n` : ""}}
listener 80 {
 proto http
 table t
}
table t {
${list.map(([text, to]) => ` ${quote(text)} ${to}\n`).join("")}}`,
  ),
  "sni-router": fc
    .array(
      fc.tuple(
        name,
        target,
        fc.constantFrom(
          "",
          "acl: < default_action: CONTINUE rules: < source: '10.0.0.0/8' action: ACCEPT > >",
          "acl: < default_action: ACCEPT rules: < source: '::/0' action: DROP > >",
        ),
      ),
      { maxLength: 12 },
    )
    .map(
      (list) =>
        `${list.map(([text, to, acl]) => `rules: < regex: ${quote(text)} ${acl} backend: < proxy: < addr: ${quote(to)} > > >\n`).join("")}default: < backend: < null: <> > >`,
    ),
};

describe.each(FORMATS)("a whole configuration of %s", (from) => {
  test("is taken by the checker, or there is nothing in it", async () => {
    await fc.assert(
      fc.asyncProperty(whole[from], async (text) => {
        const imported = tryImport(text, from);
        if (imported === undefined) return;
        // Warnings may be right: of a route that leads where the default does, for example.
        await loadConfiguration(folder.write("x.yaml", imported.text));
      }),
      { numRuns: 40 },
    );
  });
});

describe("texts that would take very long if the time grew faster than they do", () => {
  const many = (text: string, length = 200_000) => text.repeat(Math.ceil(length / text.length));
  const numbered = (line: (i: number) => string, count = 2500) =>
    Array.from({ length: count }, (_, i) => line(i)).join("");
  test.each<readonly [string, Format, string]>([
    ["opened blocks", "nginx", many("a{")],
    ["quotes", "nginx", many('"\\" ')],
    ["blanks", "nginx", many("\n")],
    [
      "entries of one name",
      "nginx",
      `map $ssl_preread_server_name $n { ${many("a.example 10.0.0.1:1; ")} } server { listen 1; ssl_preread on; proxy_pass $n; }`,
    ],
    ["servers", "nginx", many("server { listen 443; ssl_preread on; proxy_pass a:1; }")],
    [
      "listeners",
      "nginx",
      `server { ssl_preread on; proxy_pass a:1; ${numbered((i) => `listen 127.0.${i >> 8}.${i & 255}:443;`)} }`,
    ],
    [
      "targets",
      "nginx",
      `map $ssl_preread_server_name $n { ${numbered((i) => `a${i}.example unix:/run/é${"é".repeat(i % 30)}${i};`)} } server { listen 1; ssl_preread on; proxy_pass $n; }`,
    ],
    [
      "an ACL of many lines",
      "haproxy",
      `frontend f\n bind :1\n${numbered((i) => ` acl a req.ssl_sni a${i}.example\n`)}${many(" use_backend b if a\n", 1000)}backend b\n server s a:1\n`,
    ],
    [
      "names on one line",
      "haproxy",
      `frontend f\n bind :1\n use_backend b if { req.ssl_sni ${numbered((i) => `a${i} `)}}\nbackend b\n server s a:1\n`,
    ],
    ["braces", "haproxy", `frontend f\n bind :1\n use_backend b if ${many("{ a } ")}\n`],
    ["open braces", "haproxy", `frontend f\n bind :1\n use_backend b if ${many("{ ")}\n`],
    ["sections", "haproxy", `defaults\n${many(" timeout client 5s\n")}${many("backend b\n", 100_000)}`],
    [
      "rules for every name",
      "haproxy",
      `frontend f\n bind :1\n${many(" use_backend b if { src 10.0.0.1 }\n")}${numbered((i) => ` use_backend b if { req.ssl_sni a${i} }\n`)}backend b\n server s a:1\n`,
    ],
    ["unended quotes", "sniproxy", many('a"')],
    ["expressions", "sniproxy", `listener 1 {\n table t\n}\ntable t {\n${numbered((i) => `a.${i} b:1\n`, 3000)}}`],
    ["groups", "sni-router", `rules: < regex: "${many("(", 900)}" backend: < null: <> > >\n`.repeat(100)],
    ["repetitions", "sni-router", 'rules: < regex: "((a{30}){30}){30}" backend: < null: <> > >\n'.repeat(10)],
    ["sorry backends", "sni-router", `default: < backend: < ${many("sorry: < ", 100_000)}`],
    [
      "rules of one name",
      "sni-router",
      `${many('rules: < regex: "a" acl: < default_action: CONTINUE rules: < source: "10.0.0.1" action: ACCEPT > > backend: < null: <> > >\n')}default: < backend: < null: <> > >`,
    ],
    ["strings in parts", "sni-router", `a: ${many('"a" ')}`],
  ])("%s (%s)", (_, from, text) => {
    const begun = performance.now();
    guessFormat(text);
    tryImport(text, from);
    expect(performance.now() - begun).toBeLessThan(20_000);
  });
});
