import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseBlock } from "../../../src/daemon/configuration/address-block.js";

describe("parseBlock", () => {
  it.each([
    ["10.0.0.0/8", "10.0.0.0/8"],
    ["192.0.2.7", "192.0.2.7"],
    ["192.0.2.7/32", "192.0.2.7"],
    ["2001:DB8:0:0::/32", "2001:db8::/32"],
    ["::1/128", "::1"],
    ["0.0.0.0/0", "0.0.0.0/0"],
  ])("%s is %s", (text, shortest) => {
    expect(parseBlock(text)).toMatchObject({ text: shortest });
  });

  it.each([
    ["10.1.0.0/8", ", which has bits set behind the first 8 (write 10.0.0.0/8)"],
    ["2001:db8::1/32", ", which has bits set behind the first 32 (write 2001:db8::/32)"],
    ["10.0.0.0/33", ", which has only 32 bits"],
    ["::/129", ", which has only 128 bits"],
  ])("%j is none%s", (text, why) => {
    expect(parseBlock(text)).toBe(why);
  });

  it.each([
    ...["", "10", "10.0", "010.0.0.1", "0x7f.1", "10.0.0.0/", "10.0.0.0/8/8", "10.0.0.0/-1", "10.0.0.0/08x"],
    ...["fe80::1%eth0", "example.com", "[::1]", " 10.0.0.1", "::g"],
  ])("%j is nothing of the kind", (text) => {
    expect(parseBlock(text)).toBe("");
  });

  it("reads what it has written as the same block", () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), fc.nat(128), (address, prefix) => {
        const whole = parseBlock(address);
        if (typeof whole === "string") throw new Error(`${address} is an address`);
        // The error for bits behind the prefix tells the block without them.
        const told = /write (\S+)\)/.exec(String(parseBlock(`${address}/${Math.min(prefix, whole.prefix)}`)))?.[1];
        const block = parseBlock(told ?? `${address}/${Math.min(prefix, whole.prefix)}`);
        if (typeof block === "string") throw new Error(`${told} is a block`);
        expect(parseBlock(block.text)).toEqual(block);
        expect(block.prefix).toBe(Math.min(prefix, whole.prefix));
      }),
    );
  });

  it("throws for no text", () => {
    const part = fc.constantFrom("10", ".", ":", "::", "/", "8", "fd00", "%", "ffff", " ", "0x", "-1", "999");
    const text = fc.oneof(
      fc.string(),
      fc.array(part, { maxLength: 10 }).map((parts) => parts.join("")),
    );
    fc.assert(
      fc.property(text, (each) => {
        const block = parseBlock(each);
        expect(typeof block === "string" || block.bytes.length === 4 || block.bytes.length === 16).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });
});
