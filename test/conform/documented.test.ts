/** The rules, as the document beside them has them, and as the protocol's document has them. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { rules } from "../../src/conform/index.js";

const readme = readFileSync(new URL("../../src/conform/README.md", import.meta.url), "utf8");
const protocol = readFileSync(new URL("../../src/handoff/PROTOCOL.md", import.meta.url), "utf8");

describe("every rule", () => {
  test("stands in the table of the README, as it is", () => {
    const table = rules.map(
      ({ name, where, says, needsStart }) => `| \`${name}\`${needsStart ? " ●" : ""} | ${where} | ${says} |`,
    );
    const text = ["| rule | where | what a receiver does |", "|-|-|-|", ...table].join("\n");
    expect(readme.slice(readme.indexOf("| rule |")).trim()).toBe(text);
  });

  test("has a name of its own, in kebab case, and says what to do", () => {
    const names = rules.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names.filter((name) => !/^[a-z0-9]+(-[a-z0-9]+)*$/.test(name))).toEqual([]);
    expect(rules.filter(({ says, remedy }) => says === "" || remedy === "")).toEqual([]);
  });

  test("that PROTOCOL.md names for a step of writing a receiver is there", () => {
    const steps = protocol.split("## Writing a receiver")[1]!.split("\n## ")[0]!;
    const named = [...steps.matchAll(/`([a-z0-9]+(?:-[a-z0-9]+)+)`/g)].map((match) => match[1]!);
    expect(named.length).toBeGreaterThan(20);
    const names = rules.map(({ name }) => name);
    expect(named.filter((name) => !names.includes(name) && name !== "sni-handoff")).toEqual([]);
  });

  test.each(rules.map(({ name, where }) => [name, where]))("%s: PROTOCOL.md has the place %j", (_, where) => {
    expect(protocol).toMatch(new RegExp(`^## ${where}$|\\*\\*${where}\\.?\\*\\*`, "m"));
  });
});
