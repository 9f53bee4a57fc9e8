import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  MAX_LABEL_LENGTH,
  MAX_NAME_LENGTH,
  type NameFault,
  normaliseName,
  normaliseNameBytes,
} from "../../src/routing/name.js";

describe("normaliseName", () => {
  const accepted: readonly [text: string, name: string, why: string][] = [
    ["app.example.com", "app.example.com", "the ordinary case"],
    ["App.EXAMPLE.Com", "app.example.com", "clients' names are compared in lower case"],
    ["app.example.com.", "app.example.com", "zone files end names with a dot, clients must not (RFC 6066 §3)"],
    ["localhost", "localhost", "one label is a name"],
    ["_acme.example.com", "_acme.example.com", "underscores occur in the wild"],
    ["-a-.example.com", "-a-.example.com", "the parser of hellos lets these through too"],
    ["xn--bcher-kva.example", "xn--bcher-kva.example", "an A-label is plain ASCII"],
    ["1.2.3", "1.2.3", "digits alone are no address unless there are four groups"],
    ["1.2.3.4.example", "1.2.3.4.example", "nor are they in front of a name"],
    ["*.example.com", "*.example.com", "a wildcard"],
    ["*.Example.com.", "*.example.com", "a wildcard is normalised like a name"],
    ["*.com", "*.com", "a wildcard over one label"],
    [`${"a".repeat(63)}.example`, `${"a".repeat(63)}.example`, "the longest label"],
    [`${"a.".repeat(127)}b`, `${"a.".repeat(127)}b`, "the longest name, of the most labels"],
    [`${"a.".repeat(127)}b.`, `${"a.".repeat(127)}b`, "a trailing dot does not count"],
  ];
  it.each(accepted)("%s -> %s: %s", (text, name) => {
    expect(normaliseName(text)).toEqual({ ok: true, name });
  });

  const refused: readonly [text: string, fault: NameFault, says: string, why: string][] = [
    ["", "empty", '"app.example.com"', "an example tells more than a rule"],
    [".", "empty", "is no name", "the root"],
    ["a..b", "empty_label", '"a..b"', "a slip"],
    ["a.b..", "empty_label", "at most one at the end", "exactly one trailing dot is stripped"],
    ["*..", "empty_label", '"*.."', "nothing under the star"],
    [".example.com", "leading_dot", '"*.example.com"', "nginx and cookies write it so, meaning one thing or two"],
    ["*", "wildcard_everything", '"default:"', "there is another way to say this"],
    ["*.", "wildcard_everything", '"default:"', "the same with a trailing dot"],
    ["a.*.com", "wildcard_place", '"*.example.com"', "nginx has no such thing either; people try"],
    ["*a.com", "wildcard_place", '"*a.com"', "part of a label"],
    ["a*.com", "wildcard_place", '"a*.com"', "part of a label"],
    ["*.*.com", "wildcard_place", "every name below it", "one star covers any depth"],
    ["www.example.*", "wildcard_place", "whole first label", "nginx has it; certificates do not"],
    ["192.0.2.1", "address", "noServerName", "no client sends an address as a server name"],
    ["192.0.2.1.", "address", "noServerName", "nor with a dot"],
    ["2001:db8::1", "character", "noServerName", "an IPv6 address, though its fault is a character"],
    ["[2001:db8::1]", "character", "noServerName", "the same in brackets"],
    ["bücher.example", "not_ascii", 'write "xn--bcher-kva.example"', "the A-label is told"],
    ["*.Bücher.example", "not_ascii", 'write "*.xn--bcher-kva.example"', "under a wildcard too"],
    ["bücher.example", "not_ascii", '"ü" (U+00FC)', "which character it was"],
    ["\u{1f4a9}.example", "not_ascii", "(U+1F4A9)", "a character outside the first plane is one character"],
    ["a\u00adb.exa mple", "not_ascii", "no valid international name", "where there is no A-label, none is told"],
    ["app.example.com:443", "character", "without the port", "a common slip"],
    ["https://app.example.com/", "character", "not a URL", "a common slip"],
    ["app.example.com/path", "character", '"/" (U+002F)', "the character is told"],
    ["app example.com", "character", '" " (U+0020)', "a space is visible so"],
    ["app\0.example.com", "character", '"\\u0000" (U+0000)', "a NUL ended the name in another project"],
    ["~^www", "character", "letters, digits", "a pattern of nginx"],
    [`${"a".repeat(64)}.example`, "label_too_long", `${MAX_LABEL_LENGTH} bytes`, "one more than DNS carries"],
    [`${"a.".repeat(127)}bc`, "too_long", `at most ${MAX_NAME_LENGTH}`, "one byte more than fits"],
  ];
  it.each(refused)("refuses %j: %s, saying %s (%s)", (text, fault, says) => {
    const result = normaliseName(text);
    expect(result).toMatchObject({ ok: false, fault });
    expect(result.ok ? "" : result.message).toContain(says);
  });

  it("tells all of them in one line, with what a terminal would obey in its visible form", () => {
    for (const [text] of refused) {
      const result = normaliseName(text.replace(/^(\.?).*/s, "$1a\n\x1b[31m\0"));
      expect(result.ok ? "" : result.message).toMatch(/^[^\x00-\x1f]+$/);
    }
  });

  it("tells long names in short messages", () => {
    const result = normaliseName("a".repeat(100_000));
    expect(result.ok ? "" : result.message).toMatch(/100000 bytes/);
    expect(result.ok ? "" : result.message.length).toBeLessThan(300);
  });

  it("returns names that it accepts unchanged, and never throws", () => {
    const text = fc.oneof(
      fc.string(),
      fc.string({ unit: "grapheme" }),
      fc.domain(),
      fc.stringMatching(/^[*.a-zB1_-]*$/),
    );
    fc.assert(
      fc.property(text, (text) => {
        const result = normaliseName(text);
        if (!result.ok) {
          expect(result.message.length).toBeGreaterThan(0);
          return;
        }
        expect(result.name).toMatch(/^(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*$/);
        expect(normaliseName(result.name)).toEqual(result);
        expect(result.name).toBe(text.toLowerCase().replace(/\.$/, ""));
      }),
      { numRuns: 2000 },
    );
  });
});

describe("normaliseNameBytes", () => {
  it("reads only the bytes it is given and leaves them as they are", () => {
    const bytes = new TextEncoder().encode("a.b App.Example. x");
    const before = bytes.slice();
    const out = new Uint8Array(MAX_NAME_LENGTH);
    expect(normaliseNameBytes(bytes, 4, 16, out)).toBe(11);
    expect(new TextDecoder().decode(out.subarray(0, 11))).toBe("app.example");
    expect(bytes).toEqual(before);
  });

  it("judges single bytes above 0x7f, which no text has, as not ASCII", () => {
    expect(normaliseNameBytes(Uint8Array.of(0x61, 0xff), 0, 2, new Uint8Array(MAX_NAME_LENGTH))).toBe("not_ascii");
  });
});
