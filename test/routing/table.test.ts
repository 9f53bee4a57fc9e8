import { describe, expect, it } from "vitest";
import { RouteTable, RouteTableBuilder } from "../../src/routing/table.js";

const encoder = new TextEncoder();

describe("RouteTable", () => {
  it("finds exact names, wildcards and the default", () => {
    const builder = new RouteTableBuilder({ names: 2, nameBytes: 40 }, 1);
    builder.add("app.example.com", 3);
    builder.add("*.example.com", 4);
    builder.defaultTarget = 9;
    const table = new RouteTable(builder.finish());
    const find = (name: string) => table.lookup(encoder.encode(name), 0, name.length);
    expect(find("app.example.com")).toBe(3);
    expect(find("x.example.com")).toBe(4);
    expect(find("x.app.example.com")).toBe(4);
    expect(find("example.com")).toBe(9);
  });
});
