/** src/prepare.mjs, in a small clone of its own: what is missing is made, what is there is left alone. */
import { existsSync, mkdirSync, readFileSync, symlinkSync, unlinkSync, utimesSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { type Ran, runNode } from "./support/command-line.js";
import { Folder } from "./support/folder.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = new Folder();
let clones = 0;

/** A clone with two sources, this repository's modules, and an addon that is "built" by writing a file. */
class Clone {
  readonly #name = `clone-${clones++}`;

  constructor() {
    for (const file of ["package.json", "tsconfig.json", "package-lock.json", "src/prepare.mjs"]) {
      this.write(file, readFileSync(`${root}/${file}`));
    }
    utimesSync(this.at("package-lock.json"), 0, 0);
    symlinkSync(`${root}/node_modules`, this.at("node_modules"));
    this.write("src/one.ts", "export const one = 1;\n");
    this.write("src/part/two.ts", 'export { one as two } from "../one.js";\n');
    this.write("native/addon.c", "");
    this.write(
      "native/build.mjs",
      `import { mkdirSync, writeFileSync } from "node:fs";
mkdirSync("native/build/Release", { recursive: true });
writeFileSync("native/build/built-for", \`node abi \${process.versions.modules}, \`);
writeFileSync("native/build/Release/sni_handoff.node", "");
`,
    );
  }

  at(path: string): string {
    return folder.at(`${this.#name}/${path}`);
  }

  write(path: string, content: string | Uint8Array): void {
    folder.write(`${this.#name}/${path}`, content);
  }

  has(path: string): boolean {
    return existsSync(this.at(path));
  }

  /** Standard error without the times. */
  async prepare(env: NodeJS.ProcessEnv = process.env): Promise<Ran> {
    const ran = await runNode([this.at("src/prepare.mjs")], { cwd: this.at("."), env });
    return { ...ran, stderr: ran.stderr.replaceAll(/\d+\.\d s/g, "… s") };
  }
}

const ADDON = "building the native addon … … s\n";
const TYPESCRIPT = "compiling TypeScript … … s\n";
const done = (stderr: string): Ran => ({ status: 0, stdout: "", stderr });

describe("a fresh clone", () => {
  test("is built once; then all is up to date, and nothing is said", async () => {
    const clone = new Clone();
    expect(await clone.prepare()).toEqual(done(ADDON + TYPESCRIPT));
    expect([clone.has("dist/one.js"), clone.has("dist/part/two.d.ts")]).toEqual([true, true]);
    expect(await clone.prepare()).toEqual(done(""));
  });

  test("two processes at once don't trip over each other: one builds, the other waits", async () => {
    const clone = new Clone();
    const both = await Promise.all([clone.prepare(), clone.prepare()]);
    const said = both.map(({ stderr }) => stderr).sort();
    expect(both.map(({ status }) => status)).toEqual([0, 0]);
    // The second one either waited, or came when all was done.
    expect(said.filter((text) => text.includes(TYPESCRIPT))).toHaveLength(1);
    expect(clone.has("dist/part/two.js")).toBe(true);
  });
});

describe("the manual page", () => {
  const PAGE = "writing the manual page … … s\n";

  test("is written when the program was compiled, or its version changed", async () => {
    const clone = new Clone();
    clone.write("src/cli/main.ts", 'process.stderr.write("noise");\nprocess.stdout.write(process.argv[2] ?? "");\n');
    expect(await clone.prepare()).toEqual(done(ADDON + TYPESCRIPT + PAGE));
    expect(readFileSync(clone.at("dist/sni-handoff.1"), "utf8")).toBe("man");
    expect(await clone.prepare()).toEqual(done(""));
    const later = Date.now() / 1000 + 5;
    utimesSync(clone.at("package.json"), later, later);
    expect(await clone.prepare()).toEqual(done(PAGE));
  });
});

describe("what a service loads", () => {
  const BUNDLE = "bundling what a service loads … … s\n";

  test("is bundled when the program was compiled, with what it imports and their licences", async () => {
    const clone = new Clone();
    for (const file of ["src/bundle.mjs", "src/licences.mjs", "src/load.cjs", "src/warm.cjs"])
      clone.write(file, readFileSync(`${root}/${file}`));
    clone.write("src/door/worker.ts", "process.exit();\n");
    clone.write(
      "src/cli/service.ts",
      'import { parse } from "yaml";\nimport "../one.js";\nconsole.log(parse("[1]"));\n',
    );
    expect(await clone.prepare()).toEqual(done(ADDON + TYPESCRIPT + BUNDLE));
    unlinkSync(clone.at("node_modules"));
    expect(await runNode([clone.at("dist/service/service.cjs")])).toEqual({ status: 0, stdout: "[ 1 ]\n", stderr: "" });
    expect(readFileSync(clone.at("dist/service/LICENSES"), "utf8")).toMatch(/^yaml \d.*\n\nCopyright Eemeli Aro/);
    symlinkSync(`${root}/node_modules`, clone.at("node_modules"));
    expect(await clone.prepare()).toEqual(done(""));
    clone.write("src/one.ts", "export const one = 2;\n");
    expect(await clone.prepare()).toEqual(done(TYPESCRIPT + BUNDLE));
    unlinkSync(clone.at("dist/service/service.cjs"));
    expect(await clone.prepare()).toEqual(done(BUNDLE));
  });
});

describe("what changed is made again", () => {
  test("an edited source, an added one, a removed one", async () => {
    const clone = new Clone();
    await clone.prepare();
    clone.write("src/one.ts", "export const one = 11;\n");
    expect(await clone.prepare()).toEqual(done(TYPESCRIPT));
    expect(readFileSync(clone.at("dist/one.js"), "utf8")).toContain("11");
    clone.write("src/three.ts", "export const three = 3;\n");
    expect(await clone.prepare()).toEqual(done(TYPESCRIPT));
    unlinkSync(clone.at("src/three.ts"));
    expect(await clone.prepare()).toEqual(done(TYPESCRIPT));
    expect([clone.has("dist/three.js"), clone.has("dist/three.d.ts"), clone.has("dist/one.js")]).toEqual([
      false,
      false,
      true,
    ]);
    expect(await clone.prepare()).toEqual(done(""));
  });

  test("an output that was lost", async () => {
    const clone = new Clone();
    await clone.prepare();
    unlinkSync(clone.at("dist/one.js"));
    expect(await clone.prepare()).toEqual(done(TYPESCRIPT));
    expect(clone.has("dist/one.js")).toBe(true);
  });

  test("a source of the addon, and an addon for another Node", async () => {
    const clone = new Clone();
    await clone.prepare();
    const later = Date.now() / 1000 + 5;
    utimesSync(clone.at("native/addon.c"), later, later);
    expect(await clone.prepare()).toEqual(done(ADDON));
    utimesSync(clone.at("native/addon.c"), 0, 0);
    clone.write("native/build/built-for", "node abi 1, ");
    expect(await clone.prepare()).toEqual(done(ADDON));
    expect(await clone.prepare()).toEqual(done(""));
  });
});

describe("what fails is said, with status 1", () => {
  test("a wrong source: the compiler's message", async () => {
    const clone = new Clone();
    clone.write("src/one.ts", "export const one: string = 1;\n");
    const { status, stdout, stderr } = await clone.prepare();
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toMatch(/^building[^\n]*\ncompiling TypeScript … failed\n.*one\.ts.*TS2322/);
    // It is tried again, not taken for done.
    expect((await clone.prepare()).status).toBe(1);
  });

  test("an addon that can't be built: what its build script says", async () => {
    const clone = new Clone();
    clone.write(
      "native/build.mjs",
      'console.error("needs a C compiler: apt-get install build-essential"); process.exit(1);',
    );
    expect(await clone.prepare()).toEqual({
      status: 1,
      stdout: "",
      stderr: "building the native addon … failed\nneeds a C compiler: apt-get install build-essential\n",
    });
  });

  test("no npm to install with", async () => {
    const clone = new Clone();
    unlinkSync(clone.at("node_modules"));
    mkdirSync(clone.at("bin"));
    const { npm_execpath: _, ...env } = process.env;
    expect(await clone.prepare({ ...env, PATH: clone.at("bin") })).toEqual({
      status: 1,
      stdout: "",
      stderr: "installing dependencies (npm ci) … failed\ncannot run npm: spawn npm ENOENT\n",
    });
  });

  test.each([
    ["version", "v18.20.0", /^sni-handoff needs Node 20\.19 or later, this is v18\.20\.0: install a newer one/],
    ["platform", "darwin", /^sni-handoff runs on Linux only \(this is darwin\)/],
  ])("another %s: one sentence", async (property, value, sentence) => {
    const clone = new Clone();
    const pretend =
      property === "version"
        ? `Object.defineProperty(process, "version", { value: "${value}" }); Object.defineProperty(process, "versions", { value: { ...process.versions, node: "${value.slice(1)}" } });`
        : `Object.defineProperty(process, "platform", { value: "${value}" });`;
    writeFileSync(clone.at("pretend.mjs"), pretend);
    const { status, stdout, stderr } = await runNode([
      "--import",
      clone.at("pretend.mjs"),
      clone.at("src/prepare.mjs"),
    ]);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toMatch(sentence);
    expect(stderr.trim().split("\n")).toHaveLength(1);
  });
});
