import { describe, expect, it } from "vitest";
import { formatRule, parseListenVariable, ruleFor } from "../../src/backend/listen-variable.js";

describe("SNI_HANDOFF", () => {
  it.each([
    ["443=/run/app/door.sock", [{ address: undefined, port: 443, path: "/run/app/door.sock" }]],
    ["0.0.0.0:443=/run/app/", [{ address: "0.0.0.0", port: 443, path: "/run/app/" }]],
    ["[::]:443=/a", [{ address: "::", port: 443, path: "/a" }]],
    ["[0:0:0::1]:8443=/a=b", [{ address: "::1", port: 8443, path: "/a=b" }]],
    [
      "443=/a, 127.0.0.1:443=/b,65535=/c",
      [
        { address: undefined, port: 443, path: "/a" },
        { address: "127.0.0.1", port: 443, path: "/b" },
        { address: undefined, port: 65535, path: "/c" },
      ],
    ],
    ["", []],
    [undefined, []],
  ])("%s", (text, rules) => {
    expect(parseListenVariable(text)).toEqual(rules);
  });

  it.each([
    ["443", 'the entry "443" is wrong: it has no "="'],
    ["443=/a,", 'the entry "" is wrong: it is empty'],
    ["443=a.sock", 'the path "a.sock" is not absolute'],
    ["443=", 'the path "" is not absolute'],
    ["0=/a", '"0" is no port; a number from 1 to 65535 is needed'],
    ["65536=/a", '"65536" is no port'],
    ["https=/a", '"https" is no port'],
    ["=/a", '"" is no port'],
    ["-1=/a", '"-1" is no port'],
    ["localhost:443=/a", '"localhost" is no address; names are not looked up'],
    [":443=/a", '"" is no address'],
    ["::1:443=/a", '"::1" is no address; an IPv6 address is written [::1]'],
    ["[127.0.0.1]:443=/a", '"[127.0.0.1]" is no address'],
    ["127.0.0.256:443=/a", '"127.0.0.256" is no address'],
    ["443=/a,443=/b", 'the entry "443=/b" is wrong: 443 is there twice'],
    ["[::1]:443=/a,[0::1]:443=/b", "[::1]:443 is there twice"],
    ["443=/a\0b", "the path has a NUL byte"],
    ["127.0.0.1\n:443=/a", '"127.0.0.1\n" is no address'],
  ])("%j is refused", (text, message) => {
    expect(() => parseListenVariable(text)).toThrowError(
      expect.objectContaining({ code: "ERR_OPTION", message: expect.stringContaining(message) }),
    );
    expect(() => parseListenVariable(text)).toThrow(/^SNI_HANDOFF: the entry /);
  });
});

describe("the rule for what a program listens on", () => {
  const rules = parseListenVariable("443=/any,127.0.0.1:443=/loopback,0.0.0.0:80=/four,[::]:81=/six,[::1]:82=/six");

  it.each([
    ["127.0.0.1", 443, "/loopback"],
    ["127.0.0.2", 443, "/any"],
    [undefined, 443, "/any"],
    [undefined, 80, "/four"], // a server without a host takes both families
    ["0.0.0.0", 80, "/four"],
    ["::", 80, undefined],
    [undefined, 81, "/six"],
    ["0::0", 81, "/six"],
    ["0.0.0.0", 81, undefined],
    [undefined, 82, undefined],
    ["::1", 82, "/six"],
    [undefined, 8443, undefined],
  ])("%s port %i: %s", (address, port, path) => {
    expect(ruleFor(rules, address, port)?.path).toBe(path);
  });

  it("is written as in the variable", () => {
    expect(rules.map(formatRule)).toEqual(["443", "127.0.0.1:443", "0.0.0.0:80", "[::]:81", "[::1]:82"]);
  });
});
