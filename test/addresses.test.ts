import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ADDRESS_BYTES, type Address, readAddress, writeAddress } from "../src/addresses.js";
import { clientKey } from "../src/door/client-key.js";

const port = fc.integer({ min: 0, max: 65_535 });
const groups = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff })), { minLength: 8, maxLength: 8 });

function packed(address: string, port = 443): Uint8Array {
  const bytes = new Uint8Array(ADDRESS_BYTES);
  writeAddress({ family: address.includes(":") ? "IPv6" : "IPv4", address, port }, bytes, 0);
  return bytes;
}

describe("an address", () => {
  it("of IPv4 is the same after being packed", () => {
    fc.assert(
      fc.property(fc.ipV4(), port, (address, port) => {
        const client: Address = { family: "IPv4", address, port };
        expect(readAddress(packed(address, port), 0)).toEqual(client);
      }),
    );
  });

  it("of IPv6 is written as RFC 5952 wants it, whichever way it was given", () => {
    fc.assert(
      fc.property(groups, port, (numbers, port) => {
        const text = numbers.map((group) => group.toString(16)).join(":");
        // The URL standard's serialiser follows RFC 5952.
        const address = new URL(`http://[${text}]`).hostname.slice(1, -1);
        const client: Address = { family: "IPv6", address, port };
        expect(readAddress(packed(text, port), 0)).toEqual(client);
        expect(readAddress(packed(address, port), 0)).toEqual(client);
      }),
    );
  });

  it.each([
    ["::", "::"],
    ["fe80::1%eth0", "fe80::1"],
    ["64:ff9b::192.0.2.1", "64:ff9b::c000:201"],
    ["2001:db8:0:1:0:0:0:1", "2001:db8:0:1::1"],
  ])("%s is read as %s", (given, read) => {
    expect(readAddress(packed(given), 0)?.address).toBe(read);
  });

  it("that is none cannot be packed, and one that is not known is not read", () => {
    expect(() => packed("1::2::3")).toThrow("1::2::3 is no IPv6 address");
    expect(readAddress(new Uint8Array(ADDRESS_BYTES), 0)).toBeUndefined();
  });
});

describe("a client", () => {
  const keyOf = (address: string, port = 443, salt = 0, secret = 1) =>
    clientKey(packed(address, port), 0, salt, secret, 2);

  it("is an IPv4 address, whatever its port", () => {
    expect(keyOf("192.0.2.7", 1)).toBe(keyOf("192.0.2.7", 2));
    expect(keyOf("192.0.2.7")).not.toBe(keyOf("192.0.2.8"));
  });

  it("is an IPv6 /64", () => {
    expect(keyOf("2001:db8:1:2:3:4:5:6")).toBe(keyOf("2001:db8:1:2:ffff::"));
    expect(keyOf("2001:db8:1:2::")).not.toBe(keyOf("2001:db8:1:3::"));
    expect(keyOf("c000:207::")).not.toBe(keyOf("192.0.2.7"));
  });

  it("has another key for another purpose, and under another secret", () => {
    expect(keyOf("192.0.2.7", 443, 1)).not.toBe(keyOf("192.0.2.7", 443, 2));
    expect(keyOf("192.0.2.7", 443, 0, 1)).not.toBe(keyOf("192.0.2.7", 443, 0, 2));
  });

  it("has keys that spread evenly over both rows of a sketch", () => {
    const rows = [new Uint32Array(256), new Uint32Array(256)];
    const bytes = packed("10.0.0.0");
    for (let i = 0; i < 1 << 16; i++) {
      bytes[6] = i >> 8;
      bytes[7] = i;
      const key = clientKey(bytes, 0, 0, 3, 4);
      expect(key >>> 0).toBe(key);
      rows[0]![(key & 0xffff) >> 8]!++;
      rows[1]![key >>> 24]!++;
    }
    // 256 a bucket, with a deviation of 16: seven of them.
    for (const row of rows) for (const count of row) expect(Math.abs(count - 256)).toBeLessThan(112);
  });
});
