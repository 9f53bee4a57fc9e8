/** What editors and people are told about the configuration is what the schema says. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { jsonSchema } from "../../../src/daemon/configuration/json-schema.js";
import { referenceRows, referenceTable } from "../../support/reference.js";

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), "utf8");

describe("the reference", () => {
  test("in README.md is the schema's", () => {
    expect(read("src/daemon/configuration/README.md")).toContain(`\n${referenceTable()}\n`);
  });

  test("tells the meaning of every key, and a default of each that isn't needed", () => {
    const rows = referenceRows();
    expect(rows.length).toBeGreaterThan(20);
    expect(rows.filter(({ meaning }) => meaning === "")).toEqual([]);
    expect(rows.filter(({ standard, meaning }) => standard === "–" && !meaning.includes("Default: "))).toEqual([]);
  });
});

describe("the JSON Schema", () => {
  const schema = z.fromJSONSchema(jsonSchema() as Parameters<typeof z.fromJSONSchema>[0]);
  const isValid = (text: string) => schema.safeParse(parse(text)).success;

  test("beside the examples is this one; `sni-handoff schema` prints it anew", () => {
    expect(JSON.parse(read("examples/sni-handoff.schema.json"))).toEqual(jsonSchema());
    expect(read("examples/front-door.yaml")).toMatch(/^# yaml-language-server: \$schema=sni-handoff\.schema\.json\n/);
  });

  test("takes the example", () => {
    expect(isValid(read("examples/front-door.yaml"))).toBe(true);
  });

  test.each([
    ["an unknown key", "listeners: [{ address: a }]\nbackends: {}\nworker: 1"],
    ["a duration without a unit", "listeners: [{ address: a, deferAccept: 5 }]\nbackends: {}"],
    ["a mode without quotes", "listeners: [{ address: a }]\nbackends: {}\ncontrol: { path: a, mode: 0660 }"],
    ["no listener", "listeners: []\nbackends: {}"],
    ["two kinds of backend in one", "listeners: [{ address: a }]\nbackends: { a: { handoff: /a, reject: close } }"],
  ])("refuses %s", (_, text) => {
    expect(isValid("listeners: [{ address: a }]\nbackends: {}")).toBe(true);
    expect(isValid(text)).toBe(false);
  });
});
