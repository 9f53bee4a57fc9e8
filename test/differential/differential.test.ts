/** Our reading of ClientHellos beside that of TLS implementations that servers use. README.md beside this file. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { done, type Facts, read } from "../tls/facts.js";
import { vectors } from "../tls/vectors.js";
import type { Answer, Peer } from "./answer.js";
import { compare } from "./comparison.js";
import { helloAt } from "./hellos.js";
import { type PeerName, peerNames, peers } from "./peers.js";
import { REASONS, reasonFor, row } from "./reasons.js";
import { explained, table, trial } from "./trial.js";

/** What CI runs; `npm run differential` gives other numbers. */
const HELLOS: Record<PeerName, number> = { openssl: 5_000, go: 5_000, rustls: 5_000, tshark: 1_000 };
const given = JSON.parse(process.env.SNI_HANDOFF_DIFFERENTIAL ?? "{}");
const {
  seed = 1,
  from = 0,
  names = peerNames,
  hellos,
} = given as {
  seed?: number;
  from?: number;
  names?: PeerName[];
  hellos?: number;
};

const running = new Map<PeerName, Peer>();
beforeAll(async () => {
  for (const name of names) running.set(name, await peers[name]());
});
afterAll(async () => {
  for (const peer of running.values()) await peer.end();
});

it(
  "generated hellos are read alike, but for the table of reasons",
  async () => {
    const tasks = [...running].map(([name, peer]) => ({ peer, hellos: hellos ?? HELLOS[name] }));
    for (const tally of await trial(tasks, seed, from)) {
      console.log(table(tally));
      expect.soft([...tally.reports.values()].join("\n\n")).toBe("");
      // Not for want of anything to compare.
      if (tally.hellos >= 100) expect.soft(tally.named).toBeGreaterThan(tally.hellos / 8);
    }
  },
  // A machine that is many times slower than a quiet one still gets there.
  300_000 + (hellos ?? 0) * 100,
);

describe.each(names)("%s", (name) => {
  it("finds in every captured hello what we find", async () => {
    const peer = running.get(name)!;
    const answers = await peer.ask(vectors.map(({ bytes }) => bytes));
    for (const [i, { name: vector, bytes }] of vectors.entries()) {
      const verdict = compare(read(bytes), answers[i]!, peer.shown);
      if (verdict.agreed !== false) expect([vector, verdict]).toEqual([vector, { agreed: "accepted" }]);
      else {
        const [disagreement] = await explained(peer, [{ bytes, ours: read(bytes), verdict }]);
        expect([vector, verdict, reasonFor(disagreement!)?.what]).toEqual([vector, verdict, expect.any(String)]);
      }
    }
  });

  it.each(REASONS.filter(({ peers: those }) => those.includes(name)))("$kind: $what", async (reason) => {
    const peer = running.get(name)!;
    const bytes = reason.example();
    const ours = read(bytes);
    const [theirs] = await peer.ask([bytes]);
    const verdict = compare(ours, theirs!, peer.shown);
    if (verdict.agreed !== false) throw new Error(`they agree: ${JSON.stringify({ ours, theirs })}`);
    const [disagreement] = await explained(peer, [{ bytes, ours, verdict }]);
    const { bytes: _, ...told } = disagreement!;
    expect(reasonFor(disagreement!)?.what, JSON.stringify(told)).toBe(reason.what);
  });
});

describe("what the trials rest on", () => {
  it("a hello of the generator without a mutation is one that we accept, with the name and protocols that went into it", () => {
    for (let index = 0; index < 2000; index++) {
      const { bytes, mutation, name, alpn } = helloAt(seed, index);
      if (mutation !== undefined) continue;
      const serverName = name?.toLowerCase().replace(/\.$/, "");
      expect(read(bytes), `hello ${index} of seed ${seed}`).toMatchObject({ status: "done", serverName, alpn });
    }
  });

  it("the same seed and number give the same bytes", () => {
    expect(helloAt(7, 1234)).toEqual(helloAt(7, 1234));
    expect(helloAt(7, 1234)).not.toEqual(helloAt(8, 1234));
  });

  it("another name, another ALPN or a part that is accepted is never explained", () => {
    const ours = { ...done({ serverName: "a.example", alpn: ["h2"] }), length: 100 } as Facts;
    const accepts = (name: string | undefined, alpn = ["h2"]): Answer => ({ status: "accepts", name, alpn });
    const kinds = [
      compare(ours, accepts("b.example")),
      compare(ours, accepts(undefined)),
      compare(ours, accepts("a.example\0")),
      compare({ ...ours, serverName: undefined } as Facts, accepts("a.example")),
      compare(ours, accepts("a.example", ["http/1.1"])),
      compare({ status: "partial", needed: 200 }, accepts("a.example")),
    ].map((verdict) => verdict.agreed === false && verdict.kind);
    expect(kinds).toEqual([...Array(4).fill("another name"), "another ALPN", "they accept what is partial"]);
    expect(REASONS.filter(({ kind }) => kinds.includes(kind))).toEqual([]);
  });

  it("README.md has the table of reasons", () => {
    const readme = readFileSync(new URL("README.md", import.meta.url), "utf8");
    for (const reason of REASONS) expect(readme).toContain(row(reason));
  });
});
