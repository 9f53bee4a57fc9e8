/** What the documents say is so: links lead somewhere, samples work. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { loadConfiguration } from "../src/daemon/configuration/index.js";
import { Folder } from "./support/folder.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = new Folder();
const read = (path: string) => readFileSync(join(root, path), "utf8");

const documents = [
  "README.md",
  "CHANGELOG.md",
  "SECURITY.md",
  ...["src", "bench", "examples", "native", "test"].flatMap((top) =>
    readdirSync(join(root, top), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".md"))
      .map((file) => join(top, file)),
  ),
];

/** The code of the first block of a language. */
function block(text: string, language: string): string {
  return text.split(`\n\`\`\`${language}\n`)[1]!.split("\n```")[0]!;
}

describe("links to files", () => {
  test.each(documents)("of %s", (document) => {
    const links = [...read(document).matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)].map((match) => match[1]!);
    expect(links.filter((link) => !existsSync(join(root, dirname(document), link)))).toEqual([]);
  });
});

describe("README.md", () => {
  test("its configuration is right, and warns of nothing", async () => {
    const { warnings, names } = await loadConfiguration(
      folder.write("front-door.yaml", block(read("README.md"), "yaml")),
    );
    expect({ warnings, names }).toEqual({ warnings: [], names: 3 });
  });

  test("its backend is the example's, but for names of files", () => {
    const essence = (code: string) =>
      code
        .split("\n")
        .filter((line) => !/^\s*(\/\/|$)|argv|console\.log/.test(line))
        .map((line) =>
          line
            .replaceAll(/"(cert|key)\.pem"/g, "$1")
            .replace('path: "/run/app/door.sock"', "path")
            .replace(/ \/\/ .*/, ""),
        );
    expect(essence(block(read("README.md"), "js"))).toEqual(essence(read("examples/node-https/server.mjs")));
  });

  test("names every dependency", () => {
    const { dependencies } = JSON.parse(read("package.json"));
    const table = read("README.md").split("## Dependencies")[1]!;
    for (const name of Object.keys(dependencies)) expect(table).toMatch(new RegExp(`^\\|[^|]*\\b${name}\\b`, "m"));
  });
});
