/** Configurations of several files. */
import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { explainName } from "../../../src/daemon/configuration/explain.js";
import { ConfigurationFolder, LISTENERS } from "./scene.js";

let folder: ConfigurationFolder;
beforeEach(() => {
  folder = new ConfigurationFolder();
});

const MAIN = `${LISTENERS}include: routes.d/*.yaml
backends: { app: { handoff: app.sock } }
default: app
`;

describe("included files", () => {
  test("add their backends, routes and maps, in the order of their names; their paths are relative to them", async () => {
    folder.write("routes.d/20.yaml", "backends: { b: { handoff: b.sock } }\nroutes: { a.example: a }\n");
    folder.write("routes.d/10.yaml", "backends: { a: { handoff: a.sock, fallback: app } }\nmaps: [names.map]\n");
    folder.write("routes.d/names.map", "n.example b\n");
    const configuration = await folder.load(MAIN);
    expect(configuration.warnings).toEqual([]);
    expect(configuration.names).toBe(2);
    expect(configuration.door.backends.map((each) => [each.name, "path" in each && each.path])).toEqual([
      ["app", folder.at("app.sock")],
      ["a", folder.at("routes.d/a.sock")],
      ["b", folder.at("routes.d/b.sock")],
      ["built-in:close", false],
    ]);
    expect(configuration.door.backends[1]).toMatchObject({ fallback: 0 });
    expect(explainName(configuration, "a.example").route.backend).toBe("a");
    expect(explainName(configuration, "n.example").route.backend).toBe("b");
    expect(configuration.files).toEqual(
      ["door.yaml", "routes.d/10.yaml", "routes.d/20.yaml", "routes.d/names.map"].map((name) => folder.at(name)),
    );
  });

  test("may be listed one by one, and hold all the backends there are", async () => {
    folder.write("one.yaml", "backends: { one: { handoff: /1 } }\nroutes: { one.example: one }\n");
    folder.write("two.yaml", "# nothing yet\n");
    const { names, files } = await folder.load(`${LISTENERS}include: [two.yaml, one.yaml]\n`);
    expect(names).toBe(1);
    expect(files).toEqual(["door.yaml", "two.yaml", "one.yaml"].map((name) => folder.at(name)));
  });

  test("are read once, however many patterns they match, and never the configuration file itself", async () => {
    folder.write("a.yaml", "backends: { a: { handoff: /a } }\nroutes: { a.example: a }\n");
    const { files } = await folder.load(`${LISTENERS}include: ["*.yaml", a.yaml, "?.yaml"]\n`);
    expect(files).toEqual([folder.at("door.yaml"), folder.at("a.yaml")]);
  });

  test("of a pattern: * and ? are the only signs that mean more than themselves", async () => {
    for (const name of ["a+.yaml", "aa.yaml", "ab.yaml", "a.yamlx", ".a.yaml", "xa.yaml"])
      folder.write(`routes.d/${name}`, "");
    const files = async (pattern: string) =>
      (await folder.load(`${MAIN.replace("routes.d/*.yaml", JSON.stringify(pattern))}`)).files
        .slice(1)
        .map((file) => file.replace(folder.at("routes.d/"), ""));
    expect(await files("routes.d/a?.yaml")).toEqual(["a+.yaml", "aa.yaml", "ab.yaml"]);
    expect(await files("routes.d/*+.yaml")).toEqual(["a+.yaml"]);
    expect(await files("./routes.d/*.yaml")).toEqual(["a+.yaml", "aa.yaml", "ab.yaml", "xa.yaml"]);
    expect(await files(join(folder.path, "routes.d", ".*"))).toEqual([".a.yaml"]);
    expect(await files("routes.d/[ab]*")).toEqual([]);
  });

  test("that no pattern finds are a warning", async () => {
    expect(await folder.warningsOf(MAIN)).toEqual([
      'door.yaml:2:10: include: found "routes.d/*.yaml", which no file matches: there is no folder "routes.d"',
    ]);
    mkdirSync(folder.at("routes.d"));
    expect(await folder.warningsOf(MAIN)).toEqual([
      'door.yaml:2:10: include: found "routes.d/*.yaml", which no file matches',
    ]);
  });

  test("warn at the places where things stand", async () => {
    folder.write("routes.d/a.yaml", "backends:\n  b: { handoff: /b }\nroutes:\n  a.example: app\n");
    expect(await folder.warningsOf(MAIN)).toEqual([
      "routes.d/a.yaml:2:3: backends.b: is not used: nothing leads to it",
      'routes.d/a.yaml:4:3: routes["a.example"]: has no effect: the default leads to app already',
    ]);
  });
});

describe("what is wrong with included files is told with its own place", () => {
  const problemsWith = (text: string) => {
    folder.write("routes.d/a.yaml", text);
    return folder.problemsOf(MAIN);
  };

  test.each<[string, string, string[]]>([
    [
      "keys of the configuration file",
      "listeners: []\ninclude: b.yaml\n",
      [
        "1:1: listeners: cannot be in a file that is included; allowed there: backends, routes, maps",
        "2:1: include: cannot be in a file that is included; allowed there: backends, routes, maps",
      ],
    ],
    [
      "unknown keys",
      "route: {}\nbackends: { x: { handoff: /x, holdd: 1s } }\n",
      [
        '1:1: route: is not a known key, did you mean "routes"?; allowed: backends, routes, maps',
        "2:31: backends.x.holdd: is not a known key",
      ],
    ],
    ["no map", "- a\n", ["1:1: found a list; allowed: a map with the keys backends, routes and maps"]],
    ["wrong values", "backends: { x: { handoff: 5 } }\n", ["1:27: backends.x.handoff: found 5; allowed"]],
    ["unknown backends", "routes: { a.example: ap }\n", ['1:22: routes["a.example"]: found "ap", which is not']],
    [
      "a user that isn't there",
      "backends: { x: { handoff: /x, user: nobody-of-that-name } }\n",
      ["1:37: backends.x.user"],
    ],
    ["maps that aren't there", "maps: [x.map]\n", ['1:8: maps[0]: cannot read "']],
    ["faults of syntax", "routes: {\n", ["2:1: is not valid YAML"]],
    [
      "a backend of another file",
      "backends:\n  app: { handoff: /x }\n",
      ["2:3: backends.app: is a backend of door.yaml:3:13 already; allowed: each name once"],
    ],
  ])("%s", async (_, text, problems) => {
    expect(await problemsWith(text)).toEqual(
      problems.map((problem) => expect.stringContaining(`routes.d/a.yaml:${problem}`)),
    );
  });

  test("a name of another file, and a map of another file", async () => {
    folder.write("routes.d/names.map", "");
    folder.write("routes.d/a.yaml", "routes:\n  A.example: app\nmaps: [names.map]\n");
    folder.write("routes.d/b.yaml", "maps: [./names.map]\nroutes:\n  a.example.: app\n");
    expect(await folder.problemsOf(MAIN)).toEqual([
      'routes.d/b.yaml:1:8: maps[0]: found "./names.map" a second time (first at routes.d/a.yaml:3:8); allowed: each file once',
      'routes.d/b.yaml:3:3: routes["a.example."]: is routed in routes.d/a.yaml:2:3 already; allowed: each name once',
    ]);
  });

  test("files in their order, after the configuration file, before maps", async () => {
    folder.write("x.map", "bad\n");
    folder.write("routes.d/b.yaml", "routes: { a b: app }\n");
    folder.write("routes.d/a.yaml", "# comment\n\n\nroutes: { c d: app }\n");
    const problems = await folder.problemsOf(`${MAIN}maps: [x.map]\nnotTls: none\n`);
    expect(problems.map((line) => line.split(":")[0])).toEqual([
      "door.yaml",
      "routes.d/a.yaml",
      "routes.d/b.yaml",
      "x.map",
    ]);
  });

  test("a fault of syntax in one of them brings no complaints about what may be in it", async () => {
    folder.write("routes.d/a.yaml", "backends: {\n");
    folder.write("routes.d/b.yaml", "routes: { a.example: a }\nworker: 1\n");
    expect(await folder.problemsOf(MAIN)).toEqual([
      expect.stringMatching(/^routes\.d\/a\.yaml:2:1: is not valid YAML/),
      expect.stringMatching(/^routes\.d\/b\.yaml:2:1: worker: is not a known key/),
    ]);
  });
});

describe("what cannot be included is told at the reference", () => {
  const problemsOf = (include: string) => folder.problemsOf(MAIN.replace("routes.d/*.yaml", include));

  test.each([
    ["missing.yaml", 'found "missing.yaml"', 'cannot read "missing.yaml": ENOENT: no such file or directory'],
    ["routes.d/", "", 'found "routes.d/"; allowed: a file\'s path, or a pattern such as "routes.d/*.yaml"'],
    ['"*/a.yaml"', "", 'found "*/a.yaml" with * or ? in a folder\'s name; allowed: in the last part of the path'],
    ['"a\\0b"', "", 'found "a\\u0000b"; allowed: a file\'s path, or a pattern such as "routes.d/*.yaml"'],
    ["{}", "", "found a map; allowed: a file's path or pattern, or a list of such"],
    ['""', "", 'found ""; allowed: a file\'s path or pattern'],
    ["door.yaml/*", "", 'cannot read the folder "door.yaml": ENOTDIR: not a directory'],
  ])("%s", async (include, _, message) => {
    expect(await problemsOf(include)).toEqual([`door.yaml:2:10: include: ${message}`]);
  });

  test("a list's item", async () => {
    expect(await problemsOf("[5, missing.yaml]")).toEqual([
      "door.yaml:2:11: include[0]: found 5; allowed: a file's path or pattern",
      'door.yaml:2:14: include[1]: cannot read "missing.yaml": ENOENT: no such file or directory',
    ]);
  });

  test("folders, files that aren't text, links that lead nowhere, and FIFOs, which would wait for a writer", async () => {
    mkdirSync(folder.at("routes.d/1.yaml"), { recursive: true });
    folder.write("routes.d/2.yaml", Buffer.from([0x61, 0x3a, 0xe4]));
    symlinkSync("nowhere", folder.at("routes.d/3.yaml"));
    execFileSync("mkfifo", [folder.at("routes.d/4.yaml"), folder.at("names.map")]);
    const at = "door.yaml:2:10: include: cannot read";
    expect(await folder.problemsOf(MAIN)).toEqual([
      `${at} "routes.d/1.yaml": it is no regular file`,
      `${at} "routes.d/2.yaml": it is not UTF-8 text`,
      `${at} "routes.d/3.yaml": ENOENT: no such file or directory`,
      `${at} "routes.d/4.yaml": it is no regular file`,
    ]);
    expect(await folder.problemsOf(`${LISTENERS}backends: {}\nmaps: [names.map]\n`)).toEqual([
      'door.yaml:3:8: maps[0]: cannot read "names.map": it is no regular file',
    ]);
  });
});
