import { describe, expect, it } from "vitest";
import { parseProxyHeader } from "../../src/proxy-protocol/index.js";
import { vectors } from "./vectors.js";

const v4 = (port: number) => ({ family: "IPv4", address: "127.0.0.1", port });
const v6 = (port: number) => ({ family: "IPv6", address: "::1", port });

/** What each captured header says, and what its client sent behind it. */
const expected: Readonly<
  Record<string, readonly [version: number, from: unknown, to: unknown, rest: string | RegExp]>
> = {
  "curl-v1": [1, v4(41346), v4(35573), /^GET \/ HTTP\/1\.1\r\n/],
  "haproxy-v1-ipv4": [1, v4(37744), v4(32923), "hello"],
  "haproxy-v1-ipv6": [1, v6(38742), v6(40807), "hello"],
  "haproxy-v2-check": [2, undefined, undefined, ""],
  "haproxy-v2-ipv4": [2, v4(45848), v4(46723), "hello"],
  "haproxy-v2-ipv6": [2, v6(45214), v6(34557), "hello"],
  "haproxy-v2-tlvs": [2, v4(51790), v4(46033), "hello"],
  "nginx-v1": [1, v4(54218), v4(37343), "hello"],
};

describe("headers that programs wrote", () => {
  it("are all here", () => {
    expect(vectors.map(({ name }) => name)).toEqual(Object.keys(expected));
  });

  it.each(vectors.map((vector) => [vector.name, vector] as const))("%s", (name, { bytes, provenance }) => {
    expect(Object.keys(provenance)).toEqual(["program", "version", "setting", "date"]);
    const [version, source, destination, rest] = expected[name]!;
    const parsed = parseProxyHeader(bytes);
    expect(parsed).toMatchObject({ status: "done", version, source, destination, local: name.endsWith("check") });
    const { length } = parsed as { length: number };
    expect(bytes.toString("latin1", length)).toMatch(rest);
    for (let cut = 0; cut < length; cut++) {
      const partial = parseProxyHeader(bytes.subarray(0, cut));
      expect(partial.status, `the first ${cut} bytes`).toBe("partial");
      const { needed } = partial as { needed: number };
      expect(needed).toBeGreaterThan(cut);
      expect(needed).toBeLessThanOrEqual(length);
    }
    expect(parseProxyHeader(bytes.subarray(0, length))).toEqual(parsed);
  });

  it("a byte changed in one with a checksum is told", () => {
    const { bytes } = vectors.find(({ name }) => name === "haproxy-v2-tlvs")!;
    const { length } = parseProxyHeader(bytes) as { length: number };
    // The addresses, and the id's text: elsewhere lengths come apart, or the type of the checksum's own TLV.
    for (const at of [16, 20, 26, length - 1]) {
      const changed = Buffer.from(bytes);
      changed[at]! ^= 1;
      expect(parseProxyHeader(changed)).toEqual({ status: "invalid", reason: "proxy_checksum" });
    }
  });
});
