import { describe, expect, test } from "vitest";
import { ClientHelloReader } from "../../src/tls/client-hello.js";
import { type InvalidReason, Status } from "../../src/tls/outcome.js";
import { read } from "./facts.js";
import { guard } from "./guard.js";
import {
  alpnExtension,
  buildHello,
  concat,
  Ext,
  extension,
  serverNameExtension,
  u16,
  vector8,
  vector16,
  versionsExtension,
} from "./hello-builder.js";
import { expectPartialUntilDone, expectRefused } from "./prefixes.js";

const GREASE = Array.from({ length: 16 }, (_, i) => 0x0a0a + i * 0x1010);

const withExtensions = (...extensions: Uint8Array[]) => buildHello({ extensions });
const refused = (reason: InvalidReason, ...extensions: Uint8Array[]) =>
  expectRefused(withExtensions(...extensions), { status: "invalid", reason });

describe("server_name", () => {
  test.each([
    ["extension", extension(Ext.server_name)],
    ["list", extension(Ext.server_name, vector16())],
    ["name", serverNameExtension("")],
    ["name behind one of another type", serverNameExtension([{ type: 1, name: "x" }, { name: "" }])],
  ])("an empty %s is refused", (_, wrong) => {
    refused("empty_server_name", wrong);
  });

  test.each([
    ["a list without its whole length", extension(Ext.server_name, [0])],
    ["a list longer than its extension", extension(Ext.server_name, [0, 5, 0, 0, 1, 0x61])],
    ["a name longer than its list", extension(Ext.server_name, vector16([0, 0, 2, 0x61]))],
    ["a name longer than everything", extension(Ext.server_name, vector16([0, 0xff, 0xff, 0x61]))],
    ["a name without its whole length", extension(Ext.server_name, vector16([0, 0]))],
    ["an entry that is only a type", extension(Ext.server_name, vector16([0]))],
    ["a second entry that is cut off", extension(Ext.server_name, vector16([0, 0, 1, 0x61, 0]))],
  ])("%s is refused", (_, wrong) => {
    refused("length_overruns_parent", wrong);
    refused("length_overruns_parent", wrong, extension(0x1234, "something behind it"));
  });

  test("a list shorter than its extension is refused", () => {
    refused("trailing_bytes", extension(Ext.server_name, concat(vector16([0, 0, 1, 0x61]), [0])));
  });

  test.each([
    ["the same", "a.example", "a.example"],
    ["different", "a.example", "b.example"],
    ["in different case", "a.example", "A.EXAMPLE"],
    ["an address and a name", "192.0.2.1", "a.example"],
  ])("two host_names in one list are refused: %s", (_, first, second) => {
    refused("duplicate_server_name", serverNameExtension([{ name: first }, { name: second }]));
  });

  test("names of other types are skipped by their length: RFC 6066 §3 promises one", () => {
    const other = { type: 1, name: "\x00not a host\xff" };
    for (const names of [
      [other, { name: "a.example" }],
      [{ name: "a.example" }, other],
      [{ type: 255, name: "" }, { name: "a.example" }, other],
    ]) {
      expect(read(withExtensions(serverNameExtension(names)))).toMatchObject({ serverName: "a.example" });
    }
    expect(read(withExtensions(serverNameExtension([other])))).toMatchObject({ status: "done", serverName: undefined });
  });

  test("two host_names around one of another type are refused", () => {
    const names = [{ name: "a.example" }, { type: 7, name: "x" }, { name: "b.example" }];
    refused("duplicate_server_name", serverNameExtension(names));
  });

  test.each(["first", "last"])("is found where it is the %s extension", (place) => {
    const others = [extension(0x1234, "x"), extension(0x4321)];
    const list = place === "first" ? [serverNameExtension("a"), ...others] : [...others, serverNameExtension("a")];
    expect(read(withExtensions(...list))).toMatchObject({ serverName: "a" });
  });
});

describe("ALPN", () => {
  test.each([
    ["one protocol", ["h2"]],
    ["the client's order", ["http/1.1", "h2", "acme-tls/1"]],
    ["GREASE, which is bytes and not text", ["\x0a\x0a", "h2"]],
    ["every byte value, and 255 of them", [String.fromCharCode(...Array.from({ length: 255 }, (_, i) => i)), "\xff"]],
    ["the same twice", ["h2", "h2"]],
  ])("%s is kept as it is", (_, alpn) => {
    const bytes = buildHello({ alpn });
    expect(expectPartialUntilDone(bytes)).toMatchObject({ alpn });
  });

  test.each([
    ["extension", extension(Ext.application_layer_protocol_negotiation)],
    ["list", alpnExtension([])],
    ["protocol", alpnExtension([""])],
    ["last protocol", alpnExtension(["h2", ""])],
  ])("an empty %s is refused", (_, wrong) => {
    refused("empty_alpn", wrong);
  });

  test.each([
    ["a list without its whole length", [0]],
    ["a list longer than its extension", [0, 4, 2, 0x68, 0x32]],
    ["a protocol longer than its list", [0, 3, 3, 0x68, 0x32]],
    ["a last protocol longer than the list", [0, 5, 2, 0x68, 0x32, 9, 0x61]],
  ])("%s is refused", (_, data) => {
    refused("length_overruns_parent", extension(Ext.application_layer_protocol_negotiation, data));
  });

  test("a list shorter than its extension is refused", () => {
    refused("trailing_bytes", extension(Ext.application_layer_protocol_negotiation, [0, 3, 2, 0x68, 0x32, 0]));
  });
});

describe("supported_versions", () => {
  test.each([
    ["the highest counts, not the first", [0x0303, 0x0304, 0x0301], 0x0304],
    ["GREASE does not count", [...GREASE, 0x0303], 0x0303],
    ["a draft does not count", [0x7f1c, 0x0303], 0x0303],
    ["DTLS does not count", [0xfefc, 0x0303], 0x0303],
    ["nothing but GREASE is no version: legacy_version must not be used then", [0x0a0a], 0],
    ["a version to come counts", [0x0305, 0x0304], 0x0305],
  ])("%s", (_, versions, maxVersion) => {
    expect(read(buildHello({ versions }))).toMatchObject({ maxVersion });
  });

  test("the bytes behind the list do not count", () => {
    const bytes = buildHello({ versions: [0x0303], extensions: [extension(0x0304)] });
    expect(read(bytes)).toMatchObject({ maxVersion: 0x0303 });
  });

  test("without it, legacy_version counts", () => {
    expect(read(buildHello({ legacyVersion: 0x0302 }))).toMatchObject({ maxVersion: 0x0302 });
  });

  test.each([
    ["an empty extension", ""],
    ["an empty list", [0]],
    ["an odd list", [3, 3, 4, 3]],
  ])("%s is refused", (_, data) => {
    refused("supported_versions_length", extension(Ext.supported_versions, data));
  });

  test("a list that does not fill its extension is refused", () => {
    refused("length_overruns_parent", extension(Ext.supported_versions, [4, 3, 4]));
    refused("trailing_bytes", extension(Ext.supported_versions, concat(vector8(u16(0x0304)), [0])));
  });

  test("127 versions, as many as fit", () => {
    const versions = Array.from({ length: 127 }, (_, i) => 0x0301 + i);
    expect(read(withExtensions(versionsExtension(versions)))).toMatchObject({ maxVersion: 0x0301 + 126 });
  });
});

describe("other extensions", () => {
  test("unknown ones and GREASE are skipped, whatever they hold", () => {
    const list = [...GREASE, 1, 9999, 0xffff].map((type) => extension(type, new Uint8Array(type % 7).fill(0xff)));
    const bytes = buildHello({ serverName: "a.example", extensions: list });
    expect(expectPartialUntilDone(bytes)).toMatchObject({ serverName: "a.example" });
  });

  test("encrypted_client_hello is flagged, whatever it holds", () => {
    for (const ech of [0, 1, 200]) expect(read(buildHello({ ech, serverName: "a" }))).toMatchObject({ ech: true });
    expect(read(buildHello({ serverName: "a" }))).toMatchObject({ ech: false });
  });

  test("one without its whole header, or longer than the block, is refused", () => {
    refused("length_overruns_parent", Uint8Array.of(0));
    refused("length_overruns_parent", extension(1), Uint8Array.of(0x12, 0x34, 0));
    refused("length_overruns_parent", Uint8Array.of(0x12, 0x34, 0, 1));
    refused("length_overruns_parent", Uint8Array.of(0x12, 0x34, 0xff, 0xff));
  });
});

describe("duplicates", () => {
  test.each([0, 10, 16, 43, 0x0a0a, 0xfe0d, 0xffff, 31, 32, 63, 64])(
    "two extensions of type %i are refused",
    (type) => {
      const data = { 0: vector16([0, 0, 1, 0x61]), 16: vector16([1, 0x61]), 43: Uint8Array.of(2, 3, 4) }[type] ?? "";
      refused("duplicate_extension", extension(type, data), extension(type, data));
      refused(
        "duplicate_extension",
        extension(type, data),
        extension(0x4242),
        extension(type, data),
        extension(0x4343),
      );
    },
  );

  test("types that share a word of the bitmap are told apart", () => {
    const types = Array.from({ length: 64 }, (_, i) => i).filter((type) => ![0, 16, 43].includes(type));
    expect(read(withExtensions(...types.map((type) => extension(type))))).toMatchObject({ status: "done" });
  });

  test("a hello leaves no trace that the next one would stumble over, be it done or refused", () => {
    const reader = new ClientHelloReader();
    const many = Array.from({ length: 300 }, (_, i) =>
      extension(i * 211, i * 211 === 0 ? vector16([0, 0, 1, 0x61]) : ""),
    );
    const whole = withExtensions(...many);
    const hellos = [
      whole,
      withExtensions(...many, extension(211)),
      withExtensions(...many, Uint8Array.of(1)),
      withExtensions(...many, Uint8Array.of(0xff, 0xfe, 0, 1)),
      withExtensions(extension(7), serverNameExtension("a b")),
      withExtensions(extension(7), extension(16)),
    ];
    for (const hello of [...hellos, ...hellos]) {
      const before = read(hello, {});
      const status = reader.read(hello, 0, hello.length);
      expect(status).toBe(before.status === "done" ? Status.DONE : Status.INVALID);
      if (before.status === "invalid") expect(reader.reason).toBe(before.reason);
      expect(reader.read(whole, 0, whole.length)).toBe(Status.DONE);
    }
  });

  test.each([1, 15, 16, 17, 18, 40])("%i extensions of high types leave no trace either", (count) => {
    const reader = new ClientHelloReader();
    const hello = withExtensions(...Array.from({ length: count }, (_, i) => extension(64 + 37 * i)));
    for (let i = 0; i < 3; i++) expect(reader.read(hello, 0, hello.length)).toBe(Status.DONE);
    const twice = withExtensions(...Array.from({ length: count }, (_, i) => extension(64 + 37 * i)), extension(64));
    for (let i = 0; i < 3; i++) expect(reader.read(twice, 0, twice.length)).toBe(Status.INVALID);
    expect(reader.reason).toBe("duplicate_extension");
    expect(reader.read(hello, 0, hello.length)).toBe(Status.DONE);
  });

  test("the work grows with the number of extensions, not with its square", () => {
    const reader = new ClientHelloReader();
    const work = (count: number) => {
      const extensions = Array.from({ length: count }, (_, i) => extension(0x100 + i));
      const { bytes, start, end, reads } = guard(buildHello({ serverName: "a.example", extensions }));
      expect(reader.read(bytes, start, end)).toBe(Status.DONE);
      return reads();
    };
    // A few are not gone through again to clear their marks.
    const base = work(100);
    const perExtension = (work(1100) - base) / 1000;
    expect(perExtension).toBeLessThanOrEqual(8);
    expect(work(4000) - base).toBe(3900 * perExtension);
    expect(work(100) - work(0)).toBeLessThanOrEqual(8 * (100 + 20));
  });
});
