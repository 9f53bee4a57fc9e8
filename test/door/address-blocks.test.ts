import { BlockList, isIPv4 } from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ADDRESS_BYTES, writeAddress } from "../../src/addresses.js";
import { parseBlock, type WrittenBlock } from "../../src/daemon/configuration/address-block.js";
import { compileBlocks, containsAddress, covers } from "../../src/door/address-blocks.js";

const compile = (...blocks: string[]) => compileBlocks(blocks.map((text) => parseBlock(text) as WrittenBlock));

function packed(address: string): Uint8Array {
  const bytes = new Uint8Array(3 + ADDRESS_BYTES);
  writeAddress({ family: isIPv4(address) ? "IPv4" : "IPv6", address, port: 0xffff }, bytes, 3);
  return bytes;
}
const has = (blocks: ReturnType<typeof compile>, address: string) => containsAddress(blocks, packed(address), 3);

describe("containsAddress", () => {
  const cases: readonly [blocks: string[], within: string[], outside: string[]][] = [
    [["10.0.0.0/8"], ["10.0.0.0", "10.255.255.255"], ["9.255.255.255", "11.0.0.0", "::a00:0"]],
    [["192.0.2.7"], ["192.0.2.7"], ["192.0.2.6", "192.0.2.8"]],
    [["0.0.0.0/0"], ["0.0.0.0", "127.0.0.1", "128.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"], ["::", "::1"]],
    [["::/0"], ["::", "8000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], ["0.0.0.0", "::ffff:1.2.3.4"]],
    [["fd00::/8"], ["fd00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], ["fcff::", "fe00::"]],
    [["2001:db8::7"], ["2001:db8::7"], ["2001:db8::6", "2001:db8::8", "2001:db8:0:1::7"]],
    [["2001:db8::/33"], ["2001:db8:7fff::"], ["2001:db8:8000::"]],
    [["::ffff:10.0.0.0/104"], ["10.1.2.3", "::ffff:10.1.2.3"], ["11.0.0.0", "::10.1.2.3"]],
    [
      ["127.255.255.255", "128.0.0.0"],
      ["127.255.255.255", "128.0.0.0"],
      ["127.255.255.254", "128.0.0.1"],
    ],
    [["10.0.0.0/9", "10.128.0.0/9", "10.5.0.0/16"], ["10.0.0.0", "10.200.0.0"], ["11.0.0.0"]],
    [[], [], ["10.0.0.0", "::1"]],
  ];
  it.each(cases)("%j has %j, not %j", (blocks, within, outside) => {
    const compiled = compile(...blocks);
    for (const address of within) expect({ address, has: has(compiled, address) }).toEqual({ address, has: true });
    for (const address of outside) expect({ address, has: has(compiled, address) }).toEqual({ address, has: false });
  });

  it("an address that is not known is in no block", () => {
    expect(containsAddress(compile("0.0.0.0/0", "::/0"), new Uint8Array(ADDRESS_BYTES), 0)).toBe(false);
  });

  /** Few values a byte, so that blocks lie within and beside each other. */
  const bytes = (length: number) =>
    fc.array(fc.constantFrom(0, 1, 127, 128, 254, 255), { minLength: length, maxLength: length });
  const v4 = bytes(4).map((each) => each.join("."));
  // All in 8000::/1: of ::/0 BlockList says that it has IPv4 too.
  const v6 = bytes(15).map((each) =>
    Array.from({ length: 8 }, (_, i) =>
      (([0xfd, ...each][2 * i]! << 8) | [0xfd, ...each][2 * i + 1]!).toString(16),
    ).join(":"),
  );
  const block = fc.oneof(fc.tuple(v4, fc.nat(32)), fc.tuple(v6, fc.integer({ min: 1, max: 128 })));

  it("agrees with Node's BlockList", () => {
    fc.assert(
      fc.property(
        fc.array(block, { maxLength: 12 }),
        fc.array(fc.oneof(v4, v6), { maxLength: 12 }),
        (blocks, addresses) => {
          const list = new BlockList();
          for (const [address, prefix] of blocks) list.addSubnet(address, prefix, isIPv4(address) ? "ipv4" : "ipv6");
          const compiled = compileBlocks(
            blocks.map(([address, prefix]) => ({ ...(parseBlock(address) as WrittenBlock), prefix })),
          );
          for (const address of [...addresses, ...blocks.map(([first]) => first)])
            expect(has(compiled, address)).toBe(list.check(address, isIPv4(address) ? "ipv4" : "ipv6"));
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe("covers", () => {
  const cases: readonly [outer: string[], inner: string[], covered: boolean][] = [
    [["10.0.0.0/8"], ["10.1.0.0/16", "10.255.255.255"], true],
    [["10.0.0.0/8"], ["10.1.0.0/16", "11.0.0.0"], false],
    [["10.0.0.0/9", "10.128.0.0/9"], ["10.0.0.0/8"], true],
    [["10.0.0.0/8"], ["fd00::1"], false],
    [["fd00::/8", "10.0.0.0/8"], ["fd00:1::/32", "10.0.0.1"], true],
    [["fd00::/9"], ["fd00::/8"], false],
    [[], [], true],
    [[], ["::1"], false],
  ];
  it.each(cases)("%j, %j: %j", (outer, inner, covered) => {
    expect(covers(compile(...outer), compile(...inner))).toBe(covered);
  });
});
