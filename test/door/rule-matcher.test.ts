/**
 * Which rule takes a connection: what the data plane decides about a hello's bytes, what `explain` says of the same
 * client, and a model that says in few lines what the documentation says.
 */
import { BlockList, isIPv4 } from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ADDRESS_BYTES, writeAddress } from "../../src/addresses.js";
import { explainName } from "../../src/daemon/configuration/explain.js";
import type { Configuration } from "../../src/daemon/configuration/index.js";
import { offersOneOf, RuleMatcher } from "../../src/door/rule-matcher.js";
import type { Rejection } from "../../src/door/settings.js";
import { FIRST_RULES_TARGET, RouteTable } from "../../src/routing/table.js";
import { ClientHelloReader } from "../../src/tls/client-hello.js";
import { Status } from "../../src/tls/outcome.js";
import { ConfigurationFolder, LISTENERS } from "../daemon/configuration/scene.js";
import { buildHello } from "../tls/hello-builder.js";

interface Rule {
  readonly backend: string;
  readonly alpn?: readonly string[];
  readonly clients?: readonly string[];
  readonly tls?: readonly string[];
  readonly access?: {
    readonly allow?: readonly string[];
    readonly deny?: readonly string[];
    readonly reject?: Rejection;
  };
}
type Target = string | Rule | readonly Rule[];

interface Input {
  readonly routes: Readonly<Record<string, Target>>;
  readonly patterns: readonly (Rule & { readonly match: string })[];
  readonly default?: Target;
  readonly noServerName?: Target;
}

interface Client {
  readonly name: string | undefined;
  readonly address: string;
  readonly alpn: readonly string[];
  readonly version: "1.0" | "1.1" | "1.2" | "1.3";
}

interface Decision {
  readonly backend: string;
  readonly refused: Rejection | undefined;
}

const NOBODY: Decision = { backend: "built-in:unrecognized_name", refused: undefined };

/** The documentation as a program: every rule is looked at, the most specific route first. */
function byModel(input: Input, { name, address, alpn, version }: Client): Decision {
  const isIn = (blocks: readonly string[]) => {
    const list = new BlockList();
    for (const block of blocks) {
      const [first, prefix] = block.split("/") as [string, string | undefined];
      const family = isIPv4(first) ? "ipv4" : "ipv6";
      if (prefix === undefined) list.addAddress(first, family);
      else list.addSubnet(first, Number(prefix), family);
    }
    return list.check(address, isIPv4(address) ? "ipv4" : "ipv6");
  };
  const rulesOf = (target: Target | undefined): readonly Rule[] => {
    if (target === undefined) return [];
    return typeof target === "string" ? [{ backend: target }] : [target].flat();
  };
  const inOrder =
    name === undefined
      ? [...rulesOf(input.noServerName), ...rulesOf(input.default)]
      : [
          ...Object.entries(input.routes)
            .filter(([route]) => (route.startsWith("*") ? name.endsWith(route.slice(1)) : name === route))
            .sort(([a], [b]) => Number(a.startsWith("*")) - Number(b.startsWith("*")) || b.length - a.length)
            .flatMap(([, target]) => rulesOf(target)),
          ...input.patterns.filter(({ match }) => new RegExp(`^(?:${match})$`, "i").test(name)),
          ...rulesOf(input.default),
        ];
  const won = inOrder.find(
    (rule) =>
      rule.alpn?.some((each) => alpn.includes(each)) !== false &&
      (rule.clients === undefined || isIn(rule.clients)) &&
      rule.tls?.includes(version) !== false,
  );
  if (won === undefined) return NOBODY;
  const { allow, deny, reject = "access_denied" } = won.access ?? {};
  const isOut = (deny !== undefined && isIn(deny)) || (allow !== undefined && !isIn(allow));
  return { backend: won.backend, refused: isOut ? reject : undefined };
}

const reader = new ClientHelloReader();

/** As a worker does it. */
function byMatcher({ door, routes }: Configuration, { name, address, alpn, version }: Client): Decision {
  const legacyVersion = 0x0301 + Number(version.slice(2));
  const hello = buildHello({
    ...(name !== undefined && { serverName: name }),
    ...(alpn.length > 0 && { alpn }),
    ...(version === "1.3" ? { versions: [0x2a2a, 0x0303, 0x0304] } : { legacyVersion }),
  });
  expect(reader.read(hello, 0, hello.length)).toBe(Status.DONE);
  const table = new RouteTable(routes);
  const addresses = new Uint8Array(3 * ADDRESS_BYTES);
  writeAddress({ family: isIPv4(address) ? "IPv4" : "IPv6", address, port: 443 }, addresses, ADDRESS_BYTES);
  const target = name === undefined ? table.noServerNameTarget : table.lookup(reader.name, 0, reader.nameLength);
  if (target < FIRST_RULES_TARGET) return { backend: door.backends[target]!.name, refused: undefined };
  const matcher = new RuleMatcher(door.rules);
  const backend = matcher.decide(target, table, reader, addresses, ADDRESS_BYTES);
  return { backend: door.backends[backend]!.name, refused: matcher.rejection };
}

function byExplanation(configuration: Configuration, { name, address, alpn, version }: Client) {
  const { route, access } = explainName(configuration, name ?? "192.0.2.1", {
    alpn,
    client: { family: isIPv4(address) ? "IPv4" : "IPv6", address },
    tls: 0x0301 + Number(version.slice(2)),
  });
  return { backend: route.backend, isRefused: access?.allowed === false };
}

const some = <T>(...items: T[]) =>
  fc.option(fc.uniqueArray(fc.constantFrom(...items), { minLength: 1 }), { nil: undefined });
const blocks = () => some("10.0.0.0/8", "10.1.0.0/16", "192.0.2.7", "0.0.0.0/0", "fd00::/8", "fd00::7");
const rule: fc.Arbitrary<Rule> = fc
  .record({
    backend: fc.constantFrom("a", "b", "c"),
    alpn: some("h2", "http/1.1", "acme-tls/1"),
    clients: blocks(),
    tls: some("1.0", "1.2", "1.3"),
    access: fc.option(
      fc.record({
        allow: blocks(),
        deny: blocks(),
        reject: fc.constantFrom<Rejection>("close", "reset", "access_denied"),
      }),
      { nil: undefined },
    ),
  })
  .map((each) => JSON.parse(JSON.stringify(each)) as Rule);
const target: fc.Arbitrary<Target> = fc.oneof(
  fc.constantFrom("a", "b", "c"),
  rule,
  fc.array(rule, { minLength: 1, maxLength: 3 }),
);
const names = ["a.b.test", "b.test", "x.a.b.test", "other.test", "test", "ab.example"];
const input: fc.Arbitrary<Input> = fc
  .record({
    routes: fc.dictionary(fc.constantFrom(...names, "*.b.test", "*.test", "*.a.b.test"), target),
    patterns: fc.array(
      fc
        .tuple(rule, fc.constantFrom("[ab.]+test", "a|ab[.]example", ".*", "OTHER.*"))
        .map(([each, match]) => ({ ...each, match })),
      { maxLength: 3 },
    ),
    default: fc.option(target, { nil: undefined }),
    noServerName: fc.option(target, { nil: undefined }),
  })
  .map((each) => JSON.parse(JSON.stringify(each)) as Input);
const client: fc.Arbitrary<Client> = fc.record({
  name: fc.option(fc.constantFrom(...names), { nil: undefined }),
  address: fc.constantFrom("10.0.0.1", "10.1.2.3", "192.0.2.7", "192.0.2.8", "fd00::7", "fd00::8", "2001:db8::1"),
  alpn: fc.uniqueArray(fc.constantFrom("h2", "http/1.1", "acme-tls/1", "h2c"), { maxLength: 3 }),
  version: fc.constantFrom("1.0", "1.1", "1.2", "1.3"),
});

describe("a rule", () => {
  it("takes whom the documentation says, in the data plane as in explanations", async () => {
    const folder = new ConfigurationFolder();
    const backends = "backends: { a: { reject: close }, b: { reject: close }, c: { reject: close } }\n";
    await fc.assert(
      fc.asyncProperty(input, fc.array(client, { minLength: 1, maxLength: 20 }), async (written, clients) => {
        const keys = Object.entries(written).map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`);
        const configuration = await folder.load(`${LISTENERS}${backends}${keys.join("")}`);
        for (const each of clients) {
          const decision = byModel(written, each);
          expect({ ...each, ...byMatcher(configuration, each) }).toEqual({ ...each, ...decision });
          const { backend, refused } = decision;
          expect(byExplanation(configuration, each)).toEqual({ backend, isRefused: refused !== undefined });
        }
      }),
      { numRuns: 100 },
    );
  });
});

describe("offersOneOf", () => {
  const offers = (wanted: string[], offered: string[]) => {
    const hello = buildHello({ alpn: offered });
    reader.read(hello, 0, hello.length);
    const protocols = wanted.map((each) => Buffer.from(each));
    return offersOneOf(protocols, reader.source, reader.alpnStart, reader.alpnEnd);
  };

  it.each([
    [["h2"], ["h2"], true],
    [["h2"], ["http/1.1", "h2"], true],
    [["h2"], ["h2c"], false],
    [["h2c"], ["h2"], false],
    [["acme-tls/1", "h3"], ["a".repeat(255), "h3"], true],
    [["H2"], ["h2"], false],
    // The length byte of the second would be the last byte of a protocol.
    [["\x02h2"], ["h2"], false],
  ])("%j, %j: %j", (wanted, offered, found) => {
    expect(offers(wanted, offered)).toBe(found);
  });

  it("a client without ALPN offers nothing", () => {
    const hello = buildHello();
    reader.read(hello, 0, hello.length);
    expect(offersOneOf([Buffer.from("h2")], reader.source, reader.alpnStart, reader.alpnEnd)).toBe(false);
  });
});
