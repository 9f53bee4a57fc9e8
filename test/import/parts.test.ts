/** The importers' parts: expressions, targets, times, order, and what is no configuration. */
import { describe, expect, test } from "vitest";
import { addressBlock, backendName, Draft } from "../../src/import/draft.js";
import { readExpression } from "../../src/import/expression.js";
import { readHaproxy } from "../../src/import/haproxy-lexer.js";
import { importConfiguration } from "../../src/import/index.js";
import { readNginx } from "../../src/import/nginx-lexer.js";
import { OrderedRoutes } from "../../src/import/ordered-routes.js";
import { readSniproxy } from "../../src/import/sniproxy-lexer.js";
import { readListenAddress, readTarget } from "../../src/import/targets.js";
import { readTextProto } from "../../src/import/text-proto.js";
import { formatTime, readTime } from "../../src/import/times.js";
import { Patterns } from "../../src/routing/patterns.js";

describe("an expression for the whole name", () => {
  test.each([
    ["app[.]example[.]com", ["app.example.com"]],
    ["(www[.]|)example[.]com", ["www.example.com", "example.com"]],
    ["(?:a|b)\\.(?:x|y)\\.example", ["a.x.example", "a.y.example", "b.x.example", "b.y.example"]],
    ["(www\\.)?example\\.com", ["www.example.com", "example.com"]],
    [".*[.]example[.]com", ["*.example.com"]],
    [".+\\.example\\.com", ["*.example.com"]],
    ["(.*)\\.(a|b)\\.example", ["*.a.example", "*.b.example"]],
    ["^app\\.example$", ["app.example"]],
    ["a\\.example|b\\.example", ["a.example", "b.example"]],
    ["foo", ["foo"]],
  ])("%s: names", (source, names) => {
    expect(readExpression(source, true)).toEqual({ kind: "names", names });
  });

  test.each([
    "example.com",
    "[a-c]\\.example",
    "a*\\.example",
    "a+?\\.example",
    "(a|b)??\\.example",
    "(a|b){2}\\.example",
    "[^.]+\\.example",
    ".*\\.a\\.example|b\\.example",
    "(?i)a\\.example",
    "a\\.example\\",
    "(a|b|c|d|e)(a|b|c|d|e)\\.example",
    ".*\\.",
  ])("%s: a pattern, or none", (source) => {
    expect(readExpression(source, true).kind).not.toBe("names");
  });

  test("what RE2 has not is said", () => {
    expect(readExpression("(?!a)b", true)).toEqual({
      kind: "unusable",
      why: 'not an expression that is matched in linear time: invalid or unsupported Perl syntax: "(?!"',
    });
    expect(readExpression("a".repeat(1001), true)).toMatchObject({ kind: "unusable" });
    expect(readExpression("a".repeat(999), false)).toMatchObject({ kind: "unusable" });
  });
});

describe("an expression that is searched for, as one for the whole name", () => {
  test.each([
    "^a\\.b$",
    "^a",
    "b$",
    "a\\$",
    "a\\\\$",
    "^a$|^b$",
    "a|b",
    "^(a|b)$",
    "[|]|x",
    "^a|b",
    ".*a",
    ".*?a",
    "a.*",
    "a\\.*",
    "",
    "^",
    "$",
    "^$",
    "a(?:^|b)",
    "(^|\\.)a$",
  ])("%j matches the same", (source) => {
    const matcher = readExpression(source, false);
    const search = new RegExp(source);
    for (const name of ["a", "b", "ab", "ba", "a.b", "xa", "ax", "xax", "a$", "a|", "|", "x", "a.", "a\\"]) {
      const found =
        matcher.kind === "names"
          ? matcher.names.includes(name)
          : matcher.kind === "pattern" &&
            new Patterns([matcher.match]).matches(Buffer.from(name), name.length).length > 0;
      expect([source, name, found]).toEqual([source, name, search.test(name)]);
    }
  });
});

describe("targets", () => {
  test.each([
    ["127.0.0.1:443", "127.0.0.1:443"],
    ["[::1]:443", "[::1]:443"],
    ["::1", "[::1]:8443"],
    ["[::1]", "[::1]:8443"],
    ["app.internal", "app.internal:8443"],
    ["app_1.internal.:1", "app_1.internal.:1"],
    ["unix:/run/a.sock", "unix:/run/a.sock"],
  ])("%s -> %s", (text, target) => {
    expect(readTarget(text, 8443)).toEqual({ ok: true, text: target });
  });

  test.each([
    "a:0",
    "a:65536",
    "a:b",
    "",
    ":1",
    "a b:1",
    "-a:1",
    "1.2.3:1",
    "[x]:1",
    "p192.0.2.3:1",
    "a.7.:1",
    "unix:",
    "unix:@",
    "unix:/run/",
    `unix:${"a".repeat(108)}`,
  ])("%j is none", (text) => {
    expect(readTarget(text, 8443)).toMatchObject({ ok: false });
  });

  test("without a port", () => {
    expect(readTarget("a")).toEqual({ ok: false, why: "it has no port" });
  });

  test.each([
    ["443", "0.0.0.0:443"],
    [":443", "0.0.0.0:443"],
    ["*:443", "*:443"],
    ["[::]:443", "[::]:443"],
    ["192.0.2.1:443", "192.0.2.1:443"],
  ])("listening on %s", (text, address) => {
    expect(readListenAddress(text, "0.0.0.0")).toEqual({ ok: true, text: address });
  });

  test.each(["localhost:443", "0", "70000", "192.0.2.1", ":443-445", ""])("listening on %j", (text) => {
    expect(readListenAddress(text, "0.0.0.0")).toMatchObject({ ok: false });
  });

  test.each([
    ["10.0.0.0/8", "10.0.0.0/8"],
    ["10.0.0.1", "10.0.0.1/32"],
    ["10.1.2.3/8", "10.0.0.0/8"],
    ["2001:db8:ffff::1/33", "2001:db8:8000::/33"],
    ["2001:db8::/32", "2001:db8::/32"],
    ["::1", "::1/128"],
    ["10.0.0.0/33", undefined],
    ["10.0.0.0/8/8", undefined],
    ["fe80::1%eth0", undefined],
    ["unix:", undefined],
  ])("the block %s", (text, block) => {
    expect(addressBlock(text)).toBe(block);
  });
});

test.each([
  ["5", "s", 5000],
  ["5", "ms", 5],
  ["1h30m", "s", 5_400_000],
  ["1h 30m", "s", 5_400_000],
  ["500ms", "s", 500],
  ["1d", "ms", 86_400_000],
  ["5y", "s", undefined],
  ["", "s", undefined],
] as const)("the time %j in %s is %s ms", (text, unit, milliseconds) => {
  expect(readTime(text, unit)).toBe(milliseconds);
});

test.each([
  [0, "0"],
  [1500, "1500ms"],
  [5000, "5s"],
  [60_000, "1m"],
  [86_400_000, "24h"],
])("%i ms are written %s", (milliseconds, text) => {
  expect(formatTime(milliseconds)).toBe(text);
});

test.each([
  ["app", "app"],
  ["127.0.0.1:443", "127.0.0.1-443"],
  ["/run/x.sock", "run-x.sock"],
  ["%&/", "backend"],
  ["a".repeat(70), "a".repeat(64)],
])("a backend for %s is called %s", (text, name) => {
  expect(backendName(text)).toBe(name);
});

test("names of backends are told apart by numbers", () => {
  const draft = new Draft("nginx", "x");
  const relay = (target: string) => draft.backend("a".repeat(70), { kind: "relay", targets: [target] });
  expect([relay("a:1"), relay("b:1"), relay("a:1"), relay("c:1")].map((name) => name.slice(-3))).toEqual([
    "aaa",
    "a-2",
    "aaa",
    "a-3",
  ]);
});

describe("nginx's access lists", () => {
  const imported = (list: string) =>
    importConfiguration(`stream { server { listen 443; ssl_preread on; proxy_pass 192.0.2.1:443; ${list} } }`, {
      file: "x",
      from: "nginx",
      read: () => undefined,
    }).text;

  test("a deny behind an allow of other clients is carried over", () => {
    const text = imported("allow 10.0.0.0/8; deny 203.0.113.0/24; deny 2001:db8::/32;");
    expect(text).toMatch(/deny: .*203\.0\.113\.0\/24.*2001:db8::\/32/);
    expect(text).not.toMatch(/left out/);
  });

  test.each(["10.1.0.0/16", "0.0.0.0/0", "10.0.0.1"])(
    "one of the same clients is not, and that is said: %s",
    (block) => {
      const text = imported(`allow 10.0.0.0/8; deny ${block}; allow all;`);
      expect(text).toContain(`deny ${block}: left out: of clients that an allow before it has too, here denials count`);
      expect(text).not.toMatch(/^[^#\n]*deny:/m);
    },
  );
});

describe("rules in order", () => {
  const at = { line: 1, what: "x" };
  function routes(...rules: (readonly [expression: string | "any", backend: string, clients?: string])[]) {
    const draft = new Draft("sni-router", "x");
    const ordered = new OrderedRoutes(draft);
    for (const [expression, backend, clients] of rules)
      ordered.add(
        expression === "any" ? "any" : readExpression(expression, true),
        [{ backend, ...(clients && { clients: [clients] }) }],
        { ...at, line: draft.remarks.length + 1 },
      );
    ordered.finish();
    const list = (all: readonly { backend: string }[]) => all.map(({ backend }) => backend).join();
    return {
      routes: [...draft.routes].map(([name, all]) => `${name}=${list(all)}`),
      patterns: draft.patterns.map(({ match, rule }) => `${match}=${rule.backend}`),
      default: draft.default && list(draft.default),
      dead: draft.remarks.length,
    };
  }

  test("a name behind a wildcard that takes it is dead, before it is not", () => {
    expect(routes(["a\\.x", "1"], [".*\\.x", "2"], ["b\\.x", "3"], [".*\\.c\\.x", "4"], ["x", "5"])).toEqual({
      routes: ["a.x=1", "*.x=2", "x=5"],
      patterns: [],
      default: undefined,
      dead: 2,
    });
  });

  test("a name or wildcard behind a pattern", () => {
    expect(routes(["[ab]\\.x", "1"], ["a\\.x", "2"], ["c\\.x", "3"], [".*\\.x", "4"], ["d\\.x", "5"])).toEqual({
      routes: ["c.x=3"],
      patterns: ["[ab]\\.x=1", ".*\\.x=4"],
      default: undefined,
      dead: 2,
    });
  });

  test("conditions: the next rule that matches is asked", () => {
    expect(routes(["a\\.x", "1", "10.0.0.0/8"], ["a\\.x", "2"], ["a\\.x", "3"])).toEqual({
      routes: ["a.x=1,2"],
      patterns: [],
      default: undefined,
      dead: 1,
    });
    expect(routes([".*\\.x", "1", "10.0.0.0/8"], ["a\\.x", "2"], ["a\\.y", "3"])).toEqual({
      routes: ["a.y=3"],
      patterns: [".*\\.x=1", "a\\.x=2"],
      default: undefined,
      dead: 0,
    });
  });

  test("rules for every name", () => {
    expect(routes(["any", "1", "10.0.0.0/8"], ["a\\.x", "2"], ["any", "3"], ["b\\.x", "4"])).toEqual({
      routes: ["a.x=1,2"],
      patterns: [],
      default: "1,3",
      dead: 1,
    });
    expect(routes(["any", "1", "10.0.0.0/8"])).toMatchObject({ default: "1" });
  });

  test("no more than there may be", () => {
    const many = Array.from({ length: 20 }, () => ["a\\.x", "1", "10.0.0.0/8"] as const);
    expect(routes(...many)).toMatchObject({ dead: 4 });
    const patterns = Array.from({ length: 1002 }, (_, i) => [`[a]${i}`, "1"] as const);
    expect(routes(...patterns)).toMatchObject({ dead: 2 });
  });
});

test.each(["true", "True", "t", "1"])("sni-router: %s is true", (yes) => {
  const text = `rules: < regex: "a" backend: < proxy: < addr: "x:1" proxy_header: ${yes} > > >`;
  expect(importConfiguration(text, { file: "x", from: "sni-router" }).text).toContain("proxyProtocol: v1");
});

test("HAProxy: a port is behind the last colon", () => {
  const text = `frontend f
 bind fd00::1:443
 use_backend b if { req.ssl_sni a.b }
backend b
 server s fd00::5:8443
 server t [fd00::6]:8443
 server u ipv6@fd00::7:8443
`;
  const imported = importConfiguration(text, { file: "x", from: "haproxy" });
  expect(imported.remarks).toEqual([]);
  expect(imported.text).toContain('address: "[fd00::1]:443"');
  expect(imported.text).toContain('relay: ["[fd00::5]:8443", "[fd00::6]:8443", "[fd00::7]:8443"]');
});

test("HAProxy: an IPv6 wildcard has IPv4, too, unless it says otherwise or another listener has that", () => {
  const listeners = (...binds: string[]) => {
    const text = `frontend f\n${binds.map((bind) => ` bind ${bind}\n`).join("")} use_backend b if { req.ssl_sni a.b }\nbackend b\n server s c:1\n`;
    return [
      ...importConfiguration(text, { file: "x", from: "haproxy" }).text.matchAll(/address: "(.*)"\n(.*v6Only)?/g),
    ].map(([, address, v6Only]) => `${address}${v6Only ? " v6Only" : ""}`);
  };
  expect(listeners(":::443")).toEqual(["[::]:443"]);
  expect(listeners(":::443 v4v6")).toEqual(["[::]:443"]);
  expect(listeners(":::443 v6only")).toEqual(["[::]:443 v6Only"]);
  expect(listeners(":443", ":::443")).toEqual(["0.0.0.0:443", "[::]:443 v6Only"]);
  expect(listeners(":443,:::8443")).toEqual(["0.0.0.0:443", "[::]:8443"]);
  expect(listeners(":::443", ":443")).toEqual(["[::]:443"]);
});

describe("a protocol of ALPN that none can be", () => {
  const long = "p".repeat(256);

  test.each(["{ req.ssl_alpn %s }", "{ req.ssl_alpn h2 %s }", "{ req.ssl_alpn }"])("HAProxy's %s", (condition) => {
    const { remarks, text } = importConfiguration(
      `frontend f\n mode tcp\n bind :443\n use_backend b if ${condition.replace("%s", long)}\n default_backend c
backend b\n server s 192.0.2.1:443\nbackend c\n server s 192.0.2.2:443\n`,
      { file: "x", from: "haproxy" },
    );
    expect(remarks.filter((remark) => /no protocol/.test(remark))).toHaveLength(1);
    expect(text).not.toContain("alpn:");
  });

  test.each(["%s", "~\\b%s\\b", '""'])("nginx's %s", (entry) => {
    const map = `map $ssl_preread_alpn_protocols $to { h2 192.0.2.1:443; ${entry.replace("%s", long)} 192.0.2.2:443; }`;
    const { text } = importConfiguration(`stream { ${map} server { listen 443; ssl_preread on; proxy_pass $to; } }`, {
      file: "x",
      from: "nginx",
    });
    expect(text.match(/alpn: "[^"]*"/g)).toEqual(['alpn: "h2"']);
  });
});

describe("lexers", () => {
  test("nginx: quotes, escapes, comments, lines", () => {
    const variable = "$".concat("{x}y");
    const text = `a "b \\"c" 'd#' # no "more\n  e\\;f ${variable};\nblock\n{ "" z; }`;
    expect(readNginx(text, "x")).toEqual([
      { line: 1, words: ["a", 'b "c', "d#", "e\\;f", variable] },
      { line: 3, words: ["block"], block: [{ line: 4, words: ["", "z"] }] },
    ]);
  });

  test("sniproxy: quotes, escapes, semicolons, comments", () => {
    expect(readSniproxy('a "b c";d\\ e # f\n\ng h{i\nj}', "x")).toEqual([
      { line: 1, words: ["a", "b c"] },
      { line: 1, words: ["d e"] },
      {
        line: 3,
        words: ["g", "h"],
        block: [
          { line: 3, words: ["i"] },
          { line: 4, words: ["j"] },
        ],
      },
    ]);
  });

  test("HAProxy: quotes, escapes, comments", () => {
    expect(readHaproxy('frontend a\n b \'c "d\' "e \\"f"g h\\ i \\.j \\\\k #l\n\n', "x")).toEqual([
      { line: 1, words: ["frontend", "a"], lines: [{ line: 2, words: ["b", 'c "d', 'e "fg', "h i", "\\.j", "\\k"] }] },
    ]);
  });

  test("text format: both brackets, strings in parts, escapes", () => {
    expect(readTextProto('a: <b: "c" \'d\\x41\\101\\n" \'>\ne {f: -1, g: true;}', "x")).toEqual([
      { name: "a", line: 1, value: [{ name: "b", line: 1, value: 'cdAA\n" ' }] },
      {
        name: "e",
        line: 2,
        value: [
          { name: "f", line: 2, value: "-1" },
          { name: "g", line: 2, value: "true" },
        ],
      },
    ]);
  });

  test.each([
    ["nginx", "a b", 'x:1: "a" is not ended by ";"'],
    ["nginx", "a {\n", 'x:1: a "{" without its "}"'],
    ["nginx", "\n}", 'x:2: a "}" without its "{"'],
    ["nginx", "a\n } ", 'x:1: "a" is not ended by ";"'],
    ["nginx", "a 'b;", 'x:1: found "\'", which begins nothing that ends'],
    ["sniproxy", "table {", 'x:1: a "{" without its "}"'],
    ["sniproxy", "}", 'x:1: a "}" without its "{"'],
    ["sniproxy", '\na "b', 'x:2: found "\\"", which begins nothing that ends'],
    ["haproxy", "bind :1", 'x:1: "bind" is in no section'],
    ["haproxy", "global\n a 'b", "x:2: a quote that is not ended"],
    ["sni-router", "a: <", 'x:1: a message that is not ended by ">"'],
    ["sni-router", "a: < }", 'x:1: found "}" where it cannot be'],
    ["sni-router", "a b", 'x:1: found "b" where it cannot be'],
    ["sni-router", "a:", 'x:1: "a" has no value'],
    ["sni-router", "a: [1]", 'x:1: found "[", which begins nothing that can be read'],
    ["sni-router", '"a"', 'x:1: found "a" where it cannot be'],
    ["sni-router", "a:: 1", 'x:1: found ":" where it cannot be'],
    ["sni-router", ", < >", 'x:1: found "<" where it cannot be'],
    ["sni-router", "a ,", 'x:1: found "," where it cannot be'],
    ["nginx", "", "x:1: there is no route by server name in it that could be carried over"],
    [
      "nginx",
      "server { listen 1; proxy_pass a:1; }",
      "x:1: there is no route by server name in it that could be carried over\n  x:1: server {…}: without ssl_preread it does not look at server names; left out",
    ],
  ] as const)("%s: %j", (from, text, message) => {
    expect(() => importConfiguration(text, { file: "x", from })).toThrow(
      expect.objectContaining({ code: "ERR_IMPORT", message }),
    );
  });

  test("what looks like nothing that is known", () => {
    expect(() => importConfiguration("hello\n", { file: "x" })).toThrow(
      expect.objectContaining({
        code: "ERR_IMPORT",
        message: "x:1: looks like none of nginx, haproxy, sniproxy, sni-router: say which one it is with --from",
      }),
    );
  });
});
