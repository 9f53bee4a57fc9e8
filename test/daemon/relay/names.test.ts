/** Names of targets, with a DNS server that answers, fails, and is silent. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { parseHosts } from "../../../src/daemon/relay/hosts.js";
import { type KnownName, TargetNames } from "../../../src/daemon/relay/names.js";
import { interleaved, NameResolver } from "../../../src/daemon/relay/resolve.js";
import { DnsServer } from "../../support/dns-server.js";
import { below } from "../../support/trials.js";
import { until } from "../../support/wait.js";

/** Milliseconds: none that wait for an answer need them. */
const PATIENCE = 60_000;

let server: DnsServer;
let names: TargetNames;
let told: [string, KnownName][];

beforeEach(async () => {
  server = await DnsServer.start();
  told = [];
  names = new TargetNames({ resolved: (host, known) => told.push([host, known]) });
});

afterEach(() => {
  vi.useRealTimers();
  names.close();
  server.close();
});

const servers = () => [{ address: "127.0.0.1", port: server.port }];
const ask = (...hosts: string[]) => names.configure(new Set(hosts), servers());

describe("a name", () => {
  test("has the addresses of both families, in turns, IPv6 first", async () => {
    server.names.set("app.internal", { addresses: ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"] });
    ask("app.internal");
    await names.settled(PATIENCE);
    expect(names.known("app.internal")).toEqual({
      addresses: ["2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"],
      failure: "",
    });
    expect(interleaved(["10.0.0.1", "::1", "::2", "10.0.0.2", "::3"])).toEqual([
      "::1",
      "10.0.0.1",
      "::2",
      "10.0.0.2",
      "::3",
    ]);
  });

  test("with one family only has that; which does not exist has none, and says so", async () => {
    server.names.set("six.internal", { addresses: ["2001:db8::1"] });
    ask("six.internal", "nobody.internal");
    await names.settled(PATIENCE);
    expect(names.known("six.internal")).toEqual({ addresses: ["2001:db8::1"], failure: "" });
    expect(names.known("nobody.internal")).toEqual({ addresses: [], failure: "the name has no address" });
  });

  test("keeps its last good answer while the servers fail, and loses it when they say that it is gone", async () => {
    server.names.set("app.internal", { addresses: ["192.0.2.1"], ttl: 1 });
    ask("app.internal");
    await names.settled(PATIENCE);
    server.names.set("app.internal", "fail");
    await until("the failure to be told", () => told.length === 2);
    expect(told[1]![1]).toEqual({
      addresses: ["192.0.2.1"],
      failure: "the name cannot be resolved (ESERVFAIL)",
    });
    server.names.delete("app.internal");
    await until("its end to be told", () => told.length === 3);
    expect(told[2]![1]).toEqual({ addresses: [], failure: "the name has no address" });
    server.names.set("app.internal", { addresses: ["192.0.2.9"] });
    await until("its return to be told", () => told.length === 4);
    expect(told[3]![1]).toEqual({ addresses: ["192.0.2.9"], failure: "" });
  });

  test("is asked for again by its TTL, not below 5 s, and only what changes is told", async () => {
    server.names.set("short.internal", { addresses: ["192.0.2.1", "192.0.2.2"], ttl: 0 });
    server.names.set("long.internal", { addresses: ["192.0.2.3"], ttl: 600 });
    ask("short.internal", "long.internal");
    await names.settled(PATIENCE);
    const begun = performance.now();
    server.names.set("short.internal", { addresses: ["192.0.2.2", "192.0.2.1"], ttl: 0 });
    const asked = () => server.asked.filter((name) => name === "short.internal").length;
    await until("the next question", () => asked() === 4);
    expect(performance.now() - begun).toBeGreaterThan(4500);
    expect(server.asked.filter((name) => name === "long.internal")).toHaveLength(2);
    expect(told).toHaveLength(2);
  });

  test("that could not be reached is asked for again at once, but not twice in 5 s", async () => {
    server.names.set("app.internal", { addresses: ["192.0.2.1"], ttl: 600 });
    ask("app.internal");
    await names.settled(PATIENCE);
    names.again("app.internal");
    expect(server.asked).toHaveLength(2);
    vi.spyOn(performance, "now").mockReturnValue(performance.now() + 6000);
    names.again("app.internal");
    vi.restoreAllMocks();
    await until("the question", () => server.asked.length === 4);
  });

  test("that no configuration has any more is forgotten; others stay known", async () => {
    server.names.set("a.internal", { addresses: ["192.0.2.1"] });
    server.names.set("b.internal", { addresses: ["192.0.2.2"] });
    ask("a.internal", "b.internal");
    await names.settled(PATIENCE);
    ask("b.internal");
    expect(names.known("a.internal")).toBeUndefined();
    expect(names.known("b.internal")).toEqual({ addresses: ["192.0.2.2"], failure: "" });
    expect(server.asked).toHaveLength(4);
  });

  test("is waited for no longer than told", async () => {
    // For longer than that it is asked for again.
    await below("milliseconds", 4000, async (count) => {
      const name = `slow-${count}.internal`;
      server.names.set(name, "silent");
      ask(name);
      const begun = performance.now();
      await names.settled(100);
      const took = performance.now() - begun;
      if (took < 4000) expect(names.known(name)).toBeUndefined();
      return took;
    });
  });
});

describe("without servers of its own", () => {
  test("the machine's own names are known", async () => {
    const resolver = new NameResolver(undefined);
    const { addresses } = await resolver.resolve("localhost");
    expect(addresses.some((address) => address === "127.0.0.1" || address === "::1")).toBe(true);
    resolver.close();
  });

  test("hosts(5) has several names a line, comments, and either case", () => {
    const text =
      "127.0.0.1 localhost # not: db.internal\n10.0.0.5\tdb.internal DB2.internal\n::5 db.internal\nx db.internal\n";
    expect(parseHosts(text, "db.internal")).toEqual(["10.0.0.5", "::5"]);
    expect(parseHosts(text, "db2.internal")).toEqual(["10.0.0.5"]);
    expect(parseHosts(text, "other")).toEqual([]);
  });
});
