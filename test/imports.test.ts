/** Imports go one way: pure <- native <- handoff <- door | relay | backend <- daemon <- demo <- cli. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("../src", import.meta.url));

const pure = ["errors", "addresses", "tls", "http", "routing", "proxy-protocol", "protocol"];

/** Layer -> the other layers that it may import. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  /** built.ts: where the addon is, and the library for other servers. */
  built: [],
  /** addresses.ts: addresses in the data plane's packed form. */
  addresses: ["errors"],
  tls: ["errors"],
  /** A Host is compared with the names that server names are compared with. */
  http: ["errors", "tls"],
  routing: ["errors", "addresses"],
  "proxy-protocol": ["errors", "addresses"],
  /** handoff/layout.ts and handoff/message.ts: the protocol without its channels. */
  protocol: ["errors", "addresses"],
  import: ["errors", "routing"],
  native: [...pure, "built"],
  handoff: [...pure, "native"],
  door: [...pure, "native", "handoff"],
  relay: [...pure, "native", "handoff"],
  backend: [...pure, "native", "handoff"],
  /** Plays the door against any receiver. */
  conform: [...pure, "native", "handoff"],
  daemon: [...pure, "built", "native", "handoff", "door", "relay"],
  /** What a user imports. */
  index: ["errors", "tls", "backend"],
  /** Plays operator and backend at once. */
  demo: ["errors", "daemon", "backend"],
  cli: ["errors", "built", "import", "conform", "daemon", "demo"],
};

const PURE_HANDOFF = ["handoff/layout.ts", "handoff/message.ts"];

function layerOf(file: string): string {
  if (PURE_HANDOFF.includes(file)) return "protocol";
  return file.includes("/") ? file.slice(0, file.indexOf("/")) : file.replace(/\.ts$/, "");
}

interface Import {
  readonly line: number;
  readonly specifier: string;
}

/** `import … from "x"`, `import "x"`, `export … from "x"`, `import("x")`, and type imports of each kind. */
function importsOf(source: string): Import[] {
  const statements = /^\s*(?:import|export)\s(?:[^;"']*?\sfrom\s)?\s*["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']/gm;
  return [...source.matchAll(statements)].map((match) => {
    const specifier = match[1] ?? match[2]!;
    const at = match.index + match[0].lastIndexOf(specifier);
    return { line: source.slice(0, at).split("\n").length, specifier };
  });
}

/** Faults of a file, as `file:line: what is wrong`. */
function faultsOf(file: string, source: string): string[] {
  const layer = layerOf(file);
  return importsOf(source).flatMap(({ line, specifier }) => {
    const say = (what: string) => [`src/${file}:${line}: ${what}`];
    if (!specifier.startsWith(".")) return [];
    const target = relative(root, join(root, dirname(file), specifier)).replace(/\.js$/, ".ts");
    if (target.startsWith("..")) return say(`imports ${specifier}, which is outside src/`);
    if (!existsSync(join(root, target))) return say(`imports ${specifier}, which is no file`);
    const other = layerOf(target);
    return other === layer || allowed[layer]?.includes(other)
      ? []
      : say(`${layer} may not import ${other} (${specifier})`);
  });
}

const files = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));

describe("imports of src/", () => {
  test("every file belongs to a layer", () => {
    expect(files.length).toBeGreaterThan(30);
    expect(files.filter((file) => !(layerOf(file) in allowed))).toEqual([]);
  });

  test("go one way", () => {
    expect(files.flatMap((file) => faultsOf(file, readFileSync(join(root, file), "utf8")))).toEqual([]);
  });

  test("the rules themselves have no circle", () => {
    const visit = (layer: string, above: readonly string[]): void => {
      expect(above).not.toContain(layer);
      for (const below of allowed[layer]!) visit(below, [...above, layer]);
    };
    for (const layer of Object.keys(allowed)) visit(layer, []);
  });
});

describe("the check itself", () => {
  test("sees every form of import, with its line", () => {
    const source = [
      'import { a } from "./1.js";',
      "import {",
      "  b,",
      '} from "./2.js";',
      'import "./3.js";',
      'export * from "./4.js";',
      'export type { C } from "./5.js";',
      'const d = await import("./6.js");',
      'type E = import("./7.js").E;',
      'import type F from "./8.js";',
      'const text = "from here";',
    ].join("\n");
    expect(importsOf(source)).toEqual([
      { line: 1, specifier: "./1.js" },
      { line: 4, specifier: "./2.js" },
      { line: 5, specifier: "./3.js" },
      { line: 6, specifier: "./4.js" },
      { line: 7, specifier: "./5.js" },
      { line: 8, specifier: "./6.js" },
      { line: 9, specifier: "./7.js" },
      { line: 10, specifier: "./8.js" },
    ]);
  });

  test("names the file and line of an offence", () => {
    const door = '\nimport type { Receiver } from "../backend/index.js";';
    expect(faultsOf("door/door.ts", door)).toEqual([
      "src/door/door.ts:2: door may not import backend (../backend/index.js)",
    ]);
    const backend = 'import { x } from "../door/settings.js";';
    expect(faultsOf("backend/attach.ts", backend)).toEqual([
      "src/backend/attach.ts:1: backend may not import door (../door/settings.js)",
    ]);
    const layout = 'import { native } from "../native/addon.js";';
    expect(faultsOf("handoff/layout.ts", layout)).toEqual([
      "src/handoff/layout.ts:1: protocol may not import native (../native/addon.js)",
    ]);
  });
});
