/** Routes with conditions, access lists and patterns: what is wrong with them, what is odd about them, what a reload changes. */
import { describe, expect, test } from "vitest";
import { explainName, explanationLines } from "../../../src/daemon/configuration/explain.js";
import { diffConfigurations, formatDiff } from "../../../src/daemon/configuration/index.js";
import { FIRST_RULES_TARGET, PATTERNS_TARGET, RouteTable } from "../../../src/routing/table.js";
import { ConfigurationFolder, LISTENERS } from "./scene.js";

const folder = new ConfigurationFolder();
const BASE = `${LISTENERS}backends: { app: { handoff: /a }, acme: { handoff: /c }, sorry: { reject: close } }
`;
const TARGET = "the name of a backend, a rule (a map with the key backend), or a list of rules";
const BLOCK = 'an address or a block such as "10.0.0.0/8", "192.0.2.7" or "fd00::/8"';
const RE2 = "a regular expression of RE2's syntax, at most 1000 characters";

describe("rules are compiled", () => {
  test("to lists behind the route table, in the order of the files", async () => {
    folder.write("more.yaml", "routes: { z.example: { backend: acme, clients: 10.0.0.0/8 } }\n");
    const { door, routes } = await folder.load(`${BASE}include: more.yaml
routes:
  a.example: app
  b.example: [{ backend: app, alpn: [h2, h3], tls: "1.3" }, { backend: sorry, access: { deny: 192.0.2.7 } }]
default: { backend: acme, clients: [10.0.0.0/8, "fd00::/8"] }
noServerName: [{ backend: sorry, tls: ["1.0", "1.1"] }]
`);
    const table = new RouteTable(routes);
    const target = (name: string) => table.findKey(Buffer.from(name), 0, name.length);
    expect(["a.example", "b.example", "z.example"].map(target)).toEqual([
      0,
      FIRST_RULES_TARGET,
      FIRST_RULES_TARGET + 1,
    ]);
    expect([table.defaultTarget, table.noServerNameTarget]).toEqual([FIRST_RULES_TARGET + 2, FIRST_RULES_TARGET + 3]);
    expect(door.backends[door.rules.lastTarget]).toMatchObject({ reject: "unrecognized_name", countedAs: "no_route" });
    const list = { written: expect.anything() };
    expect(door.rules).toMatchObject({
      lists: [
        [
          {
            backend: 0,
            alpn: [Buffer.from("h2"), Buffer.from("h3")].map((each) => Uint8Array.from(each)),
            tls: [0x0304],
          },
          {
            backend: 2,
            alpn: undefined,
            clients: undefined,
            access: { allow: undefined, deny: list, reject: "access_denied" },
          },
        ],
        [{ backend: 1, clients: { written: ["10.0.0.0/8"] } }],
        [{ backend: 1, clients: { written: ["10.0.0.0/8", "fd00::/8"] } }],
        [{ backend: 2, tls: [0x0301, 0x0302] }],
      ],
      patterns: [],
      defaultTarget: FIRST_RULES_TARGET + 2,
    });
  });

  test("patterns stand where the default would, and lead to it", async () => {
    const { door, routes } = await folder.load(`${BASE}patterns: [{ match: "a+", backend: app }]\ndefault: acme\n`);
    const table = new RouteTable(routes);
    expect([table.defaultTarget, table.noServerNameTarget]).toEqual([PATTERNS_TARGET, 1]);
    expect(door.rules).toMatchObject({ patterns: [{ match: "a+", backend: 0 }], defaultTarget: 1, lastTarget: 1 });
  });
});

describe("one wrong thing is one problem, with its place", () => {
  const rule = (text: string) => `${BASE}routes: { a.b: ${text} }\n`;
  const cases: readonly (readonly [what: string, text: string, problem: string])[] = [
    ["a number for a route", rule("5"), `3:16: routes["a.b"]: found 5; allowed: ${TARGET}`],
    ["no rule", rule("[]"), `3:16: routes["a.b"]: found an empty list; allowed: ${TARGET}`],
    [
      "a rule to nowhere",
      rule("{ alpn: h2 }"),
      '3:16: routes["a.b"].backend: is missing; allowed: the name of a backend',
    ],
    [
      "an unknown backend",
      rule("[{ backend: app, alpn: h2 }, { backend: ap }]"),
      '3:56: routes["a.b"][1].backend: found "ap", which is not a backend, did you mean "app"?; there are app, acme, sorry',
    ],
    [
      "an unknown key",
      rule("{ backend: app, client: 10.0.0.0/8 }"),
      '3:32: routes["a.b"].client: is not a known key, did you mean "clients"?; allowed: backend, alpn, clients, tls, access',
    ],
    [
      "an unknown key of an access list",
      rule("{ backend: app, access: { permit: [] } }"),
      '3:42: routes["a.b"].access.permit: is not a known key; allowed: allow, deny, reject',
    ],
    [
      "a block with host bits",
      rule("{ backend: app, clients: 10.0.0.1/8 }"),
      `3:41: routes["a.b"].clients: found "10.0.0.1/8", which has bits set behind the first 8 (write 10.0.0.0/8); allowed: ${BLOCK}`,
    ],
    [
      "a name for a block, in a list",
      rule("{ backend: app, access: { allow: [10.0.0.0/8, localhost] } }"),
      `3:62: routes["a.b"].access.allow[1]: found "localhost"; allowed: ${BLOCK}`,
    ],
    [
      "a version without quotes",
      rule("{ backend: app, tls: 1.3 }"),
      '3:37: routes["a.b"].tls: found 1.3 without quotes; allowed: "1.0", "1.1", "1.2" or "1.3", in quotes',
    ],
    [
      "no protocol",
      rule("{ backend: app, alpn: [] }"),
      `3:38: routes["a.b"].alpn: found an empty list; allowed: a protocol's name, or a list of such`,
    ],
    [
      "a protocol that is too long",
      rule(`{ backend: app, alpn: "${"é".repeat(128)}" }`),
      `3:38: routes["a.b"].alpn: found ${JSON.stringify("é".repeat(128)).slice(0, 76)}…"; allowed: a protocol's name of at most 255 bytes, such as "h2" or "acme-tls/1"`,
    ],
    [
      "an unknown way to refuse",
      rule("{ backend: app, access: { reject: drop } }"),
      '3:50: routes["a.b"].access.reject: found "drop"; allowed: unrecognized_name, access_denied, internal_error, close, reset',
    ],
    [
      "too many rules",
      rule(`[${"{ backend: app }, ".repeat(251)}]`),
      '3:16: routes["a.b"]: found too many rules; allowed: at most 250',
    ],
    [
      "a pattern that is none",
      `${BASE}patterns:\n  - { match: "a(b", backend: app }\n`,
      `4:14: patterns[0].match: found "a(b", which is none (missing closing ): "a(b"); allowed: ${RE2}`,
    ],
    [
      "a pattern that would need backtracking",
      `${BASE}patterns:\n  - { match: "(a)\\\\1", backend: app }\n`,
      `4:14: patterns[0].match: found "(a)\\\\1", which is none (invalid escape sequence: "\\\\1"); allowed: ${RE2}`,
    ],
    [
      "a map of patterns",
      `${BASE}patterns: { a: app }\n`,
      "3:11: patterns: found a map; allowed: a list of maps with the keys match and backend",
    ],
    [
      "default in a rule",
      `${BASE}default: [{ backend: gone }]\n`,
      '3:22: default[0].backend: found "gone", which is not a backend; there are app, acme, sorry',
    ],
    [
      "noServerName by a list of names",
      `${BASE}noServerName: [app]\n`,
      '3:16: noServerName[0]: found "app"; allowed: a map with the key backend',
    ],
    [
      "one name with rules and without",
      `${BASE}routes: { a.b: { backend: app, tls: "1.3" }, A.B: acme }\n`,
      '3:46: routes["A.B"]: is the same name as "a.b" (names have no case and no dot at the end); allowed: each once',
    ],
  ];
  test.each(cases)("%s", async (_, text, problem) => {
    expect(await folder.problemsOf(text)).toEqual([`door.yaml:${problem}`]);
  });

  test("a map that names what has rules already", async () => {
    folder.write("names.map", "a.b app\n");
    expect(
      await folder.problemsOf(`${BASE}routes: { a.b: { backend: app, tls: "1.3" } }\nmaps: [names.map]\n`),
    ).toEqual(['names.map:1:1: "a.b" has a route with rules already']);
  });

  test("patterns in an included file: their order would be that of the files", async () => {
    folder.write("more.yaml", 'patterns: [{ match: "a", backend: app }]\n');
    expect(await folder.problemsOf(`${BASE}include: more.yaml\n`)).toEqual([
      "more.yaml:1:1: patterns: cannot be in a file that is included; allowed there: backends, routes, maps",
    ]);
  });
});

describe("what is odd is a warning", () => {
  const USED = `${BASE}notTls: sorry\ndefault: app\nnoServerName: acme\n`;
  const routes = (...rules: string[]) => `${USED}routes:\n  a.b:\n${rules.map((rule) => `  - ${rule}\n`).join("")}`;
  const patterns = (...rules: string[]) => `${USED}patterns:\n${rules.map((rule) => `  - ${rule}\n`).join("")}`;
  const cases: readonly (readonly [what: string, text: string, ...warnings: string[]])[] = [
    [
      "rules in a good order",
      routes("{ backend: acme, alpn: [a, b], tls: '1.3' }", "{ backend: acme, alpn: a }", "{ backend: app }"),
    ],
    [
      "a rule behind one without conditions",
      routes("{ backend: app }", "{ backend: acme, alpn: h2 }"),
      '9:5: routes["a.b"][1]: is never reached: rule 1 takes all its clients',
    ],
    [
      "rules behind wider ones",
      routes(
        "{ backend: app, clients: 10.0.0.0/8 }",
        "{ backend: acme, clients: [10.1.0.0/16, 10.2.0.0/16], alpn: h2 }",
        "{ backend: acme, alpn: [h2, h3] }",
        "{ backend: app, alpn: h3, tls: '1.3' }",
      ),
      '9:5: routes["a.b"][1]: is never reached: rule 1 takes all its clients',
      '11:5: routes["a.b"][3]: is never reached: rule 3 takes all its clients',
    ],
    [
      "blocks that are in others, and no blocks",
      routes(
        "{ backend: app, clients: [10.1.0.0/16, 10.0.0.0/8, 'fd00::/8', 'fd00::1'] }",
        "{ backend: acme, clients: [] }",
      ),
      '8:30: routes["a.b"][0].clients: has 10.1.0.0/16, which is in 10.0.0.0/8 already',
      '8:30: routes["a.b"][0].clients: has fd00::1, which is in fd00::/8 already',
      '9:5: routes["a.b"][1]: is never reached: rule 1 takes all its clients',
      '9:31: routes["a.b"][1].clients: is an empty list: the rule holds for nobody',
    ],
    [
      "an access list without a list",
      routes("{ backend: app, access: {} }"),
      '8:29: routes["a.b"][0].access: has no effect: it has neither allow nor deny',
    ],
    [
      "an access list that lets nobody in",
      routes(
        "{ backend: app, access: { allow: [] } }",
        "{ backend: app, access: { allow: 10.1.0.0/16, deny: [10.0.0.0/8] } }",
      ),
      '8:38: routes["a.b"][0].access.allow: is an empty list: nobody is let in',
      '9:5: routes["a.b"][1]: is never reached: rule 1 takes all its clients',
      '9:38: routes["a.b"][1].access.allow: lets nobody in: deny has all of it',
    ],
    [
      "what is allowed and denied",
      routes("{ backend: app, access: { allow: [10.1.0.0/16, 192.0.2.7], deny: [10.0.0.0/8] } }"),
      '8:38: routes["a.b"][0].access.allow: has 10.1.0.0/16, which deny has too (10.0.0.0/8)',
    ],
    [
      "a pattern twice",
      patterns("{ match: 'a+', backend: acme }", "{ match: 'A+', backend: acme }"),
      '8:14: patterns[1].match: is never reached: "a+" takes all its clients',
    ],
    [
      "patterns behind one for all names",
      patterns(
        "{ match: '.*', backend: acme, tls: '1.3' }",
        "{ match: 'a+', backend: acme }",
        "{ match: 'b+', backend: acme, tls: '1.3' }",
      ),
      '9:14: patterns[2].match: is never reached: ".*" takes all its clients',
    ],
    [
      "a pattern for one name",
      patterns("{ match: 'x[.]b', backend: acme }"),
      '7:14: patterns[0].match: matches only "x.b": as a route it is found without a search',
    ],
    [
      "a pattern for one name that others take",
      `${patterns("{ match: 'x.*', backend: acme }", "{ match: 'xa[.]b', backend: acme }", "{ match: 'n\\.r', backend: acme }")}routes: { "*.r": acme }\n`,
      '8:14: patterns[1].match: is never reached: "x.*" takes all its clients',
      '9:14: patterns[2].match: is never reached: the route "*.r" takes this name',
    ],
    [
      "a name for a pattern",
      patterns("{ match: a.example.com, backend: acme }"),
      "7:14: patterns[0].match: is a name, but in a pattern a dot is any character: write it in routes, or each dot as \\.",
    ],
    [
      "a default out of order",
      `${BASE}notTls: sorry\nnoServerName: acme\ndefault: [{ backend: app }, { backend: app }]\n`,
      "5:29: default[1]: is never reached: rule 1 takes all its clients",
    ],
  ];
  test.each(cases)("%s", async (_, text, ...warnings) => {
    expect(await folder.warningsOf(text)).toEqual(warnings.map((each) => `door.yaml:${each}`));
  });

  test("patterns that some names make slow", async () => {
    const slow = Array.from({ length: 200 }, (_, i) => `{ match: ".*a.{10}b.*${i}", backend: acme }`);
    expect(await folder.warningsOf(patterns(...slow))).toEqual([
      expect.stringMatching(
        /^door\.yaml:6:1: patterns: may take \d+ ms for one name, in which a worker serves nobody else;/,
      ),
    ]);
    const quick = Array.from({ length: 200 }, (_, i) => `{ match: "tenant-${i}-[a-z0-9]+[.]example", backend: acme }`);
    expect(await folder.warningsOf(patterns(...quick))).toEqual([]);
  });

  test("a backend is used if a rule leads to it", async () => {
    expect(
      await folder.warningsOf(
        `${BASE}default: [{ backend: app, alpn: h2 }]\npatterns: [{ match: "a+", backend: acme }]\n`,
      ),
    ).toEqual(["door.yaml:2:58: backends.sorry: is not used: nothing leads to it"]);
  });

  test("of many needless blocks the first are told", async () => {
    const blocks = ["10.0.0.0/8", ...Array.from({ length: 30 }, (_, i) => `10.${i}.0.0/16`)].join(", ");
    const warnings = await folder.warningsOf(routes(`{ backend: app, clients: [${blocks}] }`));
    expect(warnings).toHaveLength(21);
    expect(warnings.at(-1)).toContain("has 10 more blocks that are in others");
  });
});

describe("the comparison of two configurations", () => {
  const lines = async (running: string, next: string) =>
    formatDiff(diffConfigurations(await folder.load(`${BASE}${running}`), await folder.load(`${BASE}${next}`)));

  test("finds no change where only the way of writing is another", async () => {
    const running =
      'routes: { a.b: [{ backend: app, clients: "FD00:0::/8", tls: ["1.3"] }], c.d: { backend: app, alpn: h2 } }\n';
    const next =
      'routes: { c.d: [{ backend: app, alpn: [h2] }], A.b: { tls: "1.3", backend: app, clients: ["fd00::/8"] } }\n';
    expect(await lines(running, next)).toEqual(["nothing changes"]);
  });

  test("tells rules, patterns and defaults in words", async () => {
    const running = `routes: { a.b: app, c.d: [{ backend: app, clients: 10.0.0.0/8 }, { backend: acme }], e.f: { backend: app, tls: "1.3" } }
patterns: [{ match: "x+", backend: app }]
default: app
`;
    const next = `routes: { a.b: { backend: acme, alpn: h2 }, c.d: [{ backend: app, clients: 10.0.0.0/9 }, { backend: acme }], g.h: { backend: app, access: { allow: 192.0.2.7, reject: reset } } }
patterns: [{ match: "y+", backend: acme, tls: "1.2" }, { match: "x+", backend: app }]
default: [{ backend: app, clients: [10.0.0.0/8, 10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16, 10.4.0.0/16, 10.5.0.0/16] }]
noServerName: { backend: sorry, tls: "1.0" }
`;
    expect(await lines(running, next)).toEqual([
      "routes added: 1",
      "  + g.h -> app (allow 192.0.2.7, else reset)",
      "routes removed: 1",
      "  - e.f -> app if tls 1.3",
      "routes moved: 2",
      "  ~ a.b: app -> acme if alpn h2",
      "  ~ c.d: app if clients 10.0.0.0/8; acme -> app if clients 10.0.0.0/9; acme",
      "~ patterns[0]: x+ -> app -> y+ -> acme if tls 1.2",
      expect.stringMatching(/^~ default: app -> app if clients 10\.0\.0\.0\/8, .* and 1 more \([0-9a-f]{8}\)$/),
      "~ noServerName: app -> sorry if tls 1.0",
      "~ patterns[1]: none -> x+ -> app",
    ]);
  });

  test("tells long lists apart that begin alike", async () => {
    const list = (last: string) =>
      `noServerName: app\ndefault: { backend: app, clients: [${Array.from({ length: 9 }, (_, i) => `10.${i}.0.0/16`).join(", ")}, ${last}] }\n`;
    expect(await lines(list("192.0.2.7"), list("192.0.2.7"))).toEqual(["nothing changes"]);
    expect(await lines(list("192.0.2.7"), list("192.0.2.8"))).toHaveLength(1);
  });
});

describe("explain", () => {
  const text = `${BASE}routes:
  a.b.example:
    - { backend: acme, alpn: acme-tls/1 }
    - { backend: app, clients: [10.0.0.0/8], access: { deny: 10.9.0.0/16, reject: reset } }
  "*.example": { backend: acme, tls: "1.3", access: { allow: ["fd00::/8"] } }
patterns: [{ match: "a.*", backend: sorry }, { match: "b.*", backend: app }]
`;
  const IPv4 = (address: string) => ({ client: { family: "IPv4" as const, address } });

  test("says which rules were passed over, and why", async () => {
    const facts = { alpn: ["h2"], tls: 0x0303, ...IPv4("192.0.2.7") };
    expect(explanationLines(explainName(await folder.load(text), "A.b.example", facts))).toEqual([
      "a.b.example -> sorry",
      "  by       pattern a.*",
      "  not      exact a.b.example, rule 1 -> acme: the client does not offer acme-tls/1",
      "           exact a.b.example, rule 2 -> app: 192.0.2.7 is not in 10.0.0.0/8",
      "           wildcard *.example, rule 1 -> acme: the client's version is 1.2, not 1.3",
      "  over     default -> built-in:unrecognized_name",
    ]);
  });

  test("says what it depends on, where that is not known", async () => {
    expect(explanationLines(explainName(await folder.load(text), "a.b.example"))).toEqual([
      "a.b.example -> sorry",
      "  by       pattern a.*",
      "  not      exact a.b.example, rule 1 -> acme: depends on the protocols that the client offers (--alpn)",
      "           exact a.b.example, rule 2 -> app: depends on the client's address (--client)",
      "           wildcard *.example, rule 1 -> acme: depends on the client's version of TLS (--tls)",
      "  over     default -> built-in:unrecognized_name",
    ]);
  });

  test("says what an access list does", async () => {
    const configuration = await folder.load(text);
    const access = (name: string, facts: Parameters<typeof explainName>[2]) =>
      explainName(configuration, name, facts).access;
    expect(access("a.b.example", IPv4("10.1.0.1"))).toEqual({ allowed: true, why: "10.1.0.1 may" });
    expect(access("a.b.example", IPv4("10.9.0.1"))).toEqual({
      allowed: false,
      why: "10.9.0.1 is refused (reset): it is in deny 10.9.0.0/16",
    });
    expect(access("x.example", { tls: 0x0304, ...IPv4("10.9.0.1") })).toEqual({
      allowed: false,
      why: "10.9.0.1 is refused (access_denied): it is not in allow fd00::/8",
    });
    expect(access("x.example", { tls: 0x0304 })).toEqual({
      allowed: undefined,
      why: "depends on the client's address (--client)",
    });
    expect(access("b", {})).toBeUndefined();
  });

  test("follows clients without a name from noServerName to the default", async () => {
    const both = `${BASE}default: { backend: acme, tls: "1.3" }\nnoServerName: { backend: app, clients: 10.0.0.0/8 }\n`;
    const configuration = await folder.load(both);
    const goes = (facts: Parameters<typeof explainName>[2]) => explainName(configuration, "192.0.2.1", facts).route;
    expect(goes(IPv4("10.0.0.1"))).toMatchObject({ kind: "noServerName", rule: 1, backend: "app" });
    expect(goes({ tls: 0x0304 })).toMatchObject({ kind: "default", rule: 1, backend: "acme" });
    expect(goes({})).toMatchObject({ kind: "default", backend: "built-in:unrecognized_name" });
    const onlyDefault = await folder.load(`${BASE}default: { backend: acme, tls: "1.3" }\n`);
    expect(explainName(onlyDefault, "192.0.2.1", { tls: 0x0304 })).toMatchObject({
      route: { kind: "default", rule: 1 },
      passed: [],
      over: [{ kind: "default", backend: "built-in:unrecognized_name" }],
    });
  });
});
