/** What is published: what is in it, and that it installs and works where there is no compiler, or no fitting binary. */
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { homedir, userInfo } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Child } from "../support/child.js";
import { npm, type Packed, Published, root, withoutCompiler } from "./published.js";

const { platformName } = await import(join(root, "native/platform.cjs"));
const published = new Published();
let packed: Packed;
let bare: NodeJS.ProcessEnv;

beforeAll(async () => {
  await published.prebuild();
  packed = await published.pack("packed");
  bare = withoutCompiler(published.at("bin"));
  chmodSync(published.folder, 0o755);
}, 900_000);
afterAll(() => published.remove());

describe("the package", () => {
  let folder: string;
  let files: readonly string[];
  beforeAll(async () => {
    folder = await published.unpack(packed, "unpacked");
    files = packed.files.map(({ path }) => path).sort();
  });

  it("has the files of the repository that are for users, what is built of them, and nothing else", () => {
    const tracked = new Set(execFileSync("git", ["ls-files"], { cwd: root, encoding: "utf8" }).split("\n"));
    const made = /^(dist|native\/prebuilt)\//;
    expect(files.filter((file) => !tracked.has(file) && !made.test(file))).toEqual([]);
    const tops = new Set(files.map((file) => file.split("/")[0]));
    expect([...tops].sort()).toEqual(
      [
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "SECURITY.md",
        "bench",
        "dist",
        "examples",
        "native",
        "package.json",
        "src",
      ].sort(),
    );
    // Of dist/: what a source there is for, and what prepare.mjs and bundle.mjs make.
    const others = /^(service\/|sni-handoff\.1$|drawing\.(mjs|LICENSES)$)/;
    const strange = files
      .filter((file) => file.startsWith("dist/"))
      .map((file) => file.slice("dist/".length))
      .filter((file) => !others.test(file) && !tracked.has(`src/${file.replace(/\.(js|js\.map|d\.ts)$/, ".ts")}`));
    expect(strange).toEqual([]);
    expect(files.filter((file) => /\.(ts|mts)$/.test(file) && !file.endsWith(".d.ts"))).toEqual([]);
  });

  it("has what its package.json names", () => {
    const { exports, bin, man } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const named = [
      ...Object.values(exports).flatMap((each) => Object.values(each as object)),
      ...Object.values(bin),
      man,
    ];
    for (const file of named.filter((each) => each.startsWith("./") || each.startsWith("dist/"))) {
      expect(existsSync(join(folder, file)), file).toBe(true);
    }
  });

  it("says nothing of the machine and the user that it was made by", () => {
    const own = [published.clone, root, homedir(), userInfo().homedir].filter((path) => path.split("/").length > 2);
    for (const file of files) {
      const content = readFileSync(join(folder, file), "latin1");
      for (const path of own) expect(content.includes(path), `${path} in ${file}`).toBe(false);
    }
  });

  it("is the same byte for byte when it is made again", async () => {
    expect((await published.pack("again")).integrity).toBe(packed.integrity);
  });
});

describe("installed in an empty project, without a compiler", () => {
  let project: string;
  const installed = () => join(project, "node_modules/sni-handoff");
  const program = () => join(project, "node_modules/.bin/sni-handoff");
  const node = (args: readonly string[], env = bare) =>
    spawnSync(process.execPath, args, { cwd: project, env, encoding: "utf8" });

  const install = async (name: string, ...options: readonly string[]) => {
    project = published.at(name);
    mkdirSync(project);
    writeFileSync(join(project, "package.json"), '{ "name": "empty", "private": true, "type": "module" }\n');
    const quick = ["--prefer-offline", "--no-audit", "--no-fund"];
    await npm(["install", packed.filename, ...quick, ...options], project, bare);
  };

  describe("with its install script", () => {
    beforeAll(() => install("scripted"), 300_000);

    it("has the prebuilt addon and library of this platform", () => {
      const from = join(installed(), "native/prebuilt", platformName());
      const built = join(installed(), "native/build");
      expect(readdirSync(built).sort()).toEqual(["Release", "built-for", "preload"]);
      for (const file of ["Release/sni_handoff.node", "preload/libsnihandoff.so", "preload/sni-handoff-helper"]) {
        expect(readFileSync(join(built, file)).equals(readFileSync(join(from, file))), file).toBe(true);
      }
      expect(statSync(join(built, "preload/sni-handoff-helper")).mode & 0o111).not.toBe(0);
    });

    it("has a command that can be called by its name", () => {
      const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
      expect(
        spawnSync(program(), ["--version"], { env: { ...bare, PATH: `${bare.PATH}:/usr/bin` }, encoding: "utf8" }),
      ).toMatchObject({
        status: 0,
        stdout: `${version}\n`,
      });
    });

    it("proves itself", () => {
      const { status, stdout, stderr } = node([program(), "demo", "--once"]);
      expect({ status, stderr }, stdout).toEqual({ status: 0, stderr: "" });
    }, 300_000);

    it("exports what it says, with types", () => {
      writeFileSync(
        join(project, "use.mts"),
        `import { attach, receive, type Receiver } from "sni-handoff/backend";
import { parseClientHello } from "sni-handoff/client-hello";
import * as all from "sni-handoff";
const outcome = parseClientHello(new Uint8Array([0x16]));
const receiver: Promise<Receiver> | undefined = undefined;
console.log(typeof attach, typeof receive, typeof outcome, receiver, Object.keys(all).length > 0);
`,
      );
      const tsc = join(root, "node_modules/typescript/bin/tsc");
      const types = ["--types", "node", "--typeRoots", join(root, "node_modules/@types")];
      const options = ["--module", "nodenext", "--strict", "--target", "es2022", ...types];
      expect(node([tsc, ...options, "use.mts"])).toMatchObject({ status: 0, stdout: "" });
      expect(node(["use.mjs"])).toMatchObject({ status: 0, stdout: "function function object undefined true\n" });
    }, 300_000);

    it("depends on what the lock file names, and on nothing that the tree lacks", async () => {
      const { stdout } = await npm(["ls", "--all", "--json"], project);
      expect(JSON.parse(stdout).problems).toBeUndefined();
    });
  });

  describe("with --ignore-scripts", () => {
    beforeAll(() => install("unscripted", "--ignore-scripts"), 300_000);

    it("uses the prebuilt addon where it is", () => {
      expect(existsSync(join(installed(), "native/build"))).toBe(false);
      const { status, stdout, stderr } = node([program(), "demo", "--once"]);
      expect({ status, stderr }, stdout).toEqual({ status: 0, stderr: "" });
    }, 300_000);

    it("names the prebuilt library, which can be preloaded", () => {
      const { stdout } = node([program(), "preload"]);
      const library = stdout.trim();
      expect(library).toBe(join(installed(), "native/prebuilt", platformName(), "preload/libsnihandoff.so"));
      // ld.so(8) complains of what it cannot load, and goes on.
      expect(node(["-p", "1"], { ...bare, LD_PRELOAD: library })).toMatchObject({
        status: 0,
        stdout: "1\n",
        stderr: "",
      });
    });

    it.runIf(process.getuid!() === 0)("gives up its privileges, and finds the addon again", async () => {
      const file = join(project, "door.yaml");
      writeFileSync(
        file,
        'listeners: [{ address: "127.0.0.1:0" }]\nuser: nobody\nbackends: { none: { reject: close } }\ndefault: none\n',
      );
      const door = new Child(process.execPath, [program(), "serve", "--config", file], { env: bare });
      const ready = await door.line("the door's being ready", (line) => line.includes('"event":"ready"') && line);
      expect(JSON.parse(ready)).toMatchObject({ event: "ready" });
      expect(await door.end()).toEqual({ status: 0, signal: null });
    });
  });
});

describe("where no prebuilt binary fits", () => {
  let folder: string;
  const build = (env: NodeJS.ProcessEnv) =>
    spawnSync(process.execPath, [join(folder, "native/build.mjs")], { env, encoding: "utf8" });
  const addon = (platform: string) => join(folder, "native/prebuilt", platform, "Release/sni_handoff.node");
  const building = `sni-handoff: building the addon for Node ${process.version}\n`;
  /** With the compiler, but not with what npm says of this clone. */
  const full = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("npm_")));
  const isBuiltHere = () =>
    !readFileSync(join(folder, "native/build/Release/sni_handoff.node")).equals(readFileSync(addon(platformName())));
  let count = 0;

  const fresh = async () => {
    folder = await published.unpack(packed, `misfit-${count++}`);
  };

  it("one for another architecture in its place is not taken: built from its sources, or refused in a sentence", async () => {
    await fresh();
    const other = platformName().includes("x64") ? "linux-arm64-glibc" : "linux-x64-glibc";
    cpSync(addon(other), addon(platformName()));
    const why = new RegExp(
      `^sni-handoff: the prebuilt addon for ${platformName()} cannot be loaded here \\(.+\\): building it from its sources\n`,
    );
    const without = build(bare);
    expect(without).toMatchObject({ status: 1, stdout: "" });
    expect(without.stderr).toMatch(why);
    expect(without.stderr.replace(why, "")).toMatch(
      /^sni-handoff needs a C compiler and make and python3 to build its addon: apt-get install build-essential python3\n$/,
    );
    expect(existsSync(join(folder, "native/build/Release/sni_handoff.node"))).toBe(false);
    const withAll = build(full);
    expect(withAll).toMatchObject({ status: 0, stdout: building });
    expect(withAll.stderr).toMatch(why);
    expect(isBuiltHere()).toBe(true);
  }, 300_000);

  it("and without the install script, the program says what to do", async () => {
    await fresh();
    const other = platformName().includes("x64") ? "linux-arm64-glibc" : "linux-x64-glibc";
    cpSync(addon(other), addon(platformName()));
    const { status, stderr } = spawnSync(
      process.execPath,
      ["--input-type=module", "-e", `await import(${JSON.stringify(join(folder, "dist/native/addon.js"))})`],
      { env: bare, encoding: "utf8" },
    );
    expect(status).toBe(1);
    expect(stderr).toMatch(/ERR_ADDON_MISSING/);
    expect(stderr).toMatch(/cannot load the native addon .*linux-.*: .*; build it with "npm rebuild sni-handoff"/);
  });

  it("one that is cut short, or of other sources, or not wanted, is not taken", async () => {
    await fresh();
    const whole = readFileSync(addon(platformName()));
    writeFileSync(addon(platformName()), whole.subarray(0, whole.length / 2));
    expect(build(bare).stderr).toMatch(/cannot be loaded here/);
    writeFileSync(addon(platformName()), whole);
    writeFileSync(
      join(folder, "native/clock.c"),
      `${readFileSync(join(folder, "native/clock.c"), "utf8")}/* patched */\n`,
    );
    expect(build(bare).stderr).toMatch(/the prebuilt addon is of other sources: building it from its sources/);
    await fresh();
    const wanted = build({ ...full, npm_config_build_from_source: "true" });
    expect(wanted).toMatchObject({ status: 0, stdout: building, stderr: "" });
    expect(isBuiltHere()).toBe(true);
  }, 300_000);

  it("a platform without one: as if there were none", async () => {
    await fresh();
    rmSync(join(folder, "native/prebuilt", platformName()), { recursive: true });
    expect(build(bare)).toMatchObject({ status: 1, stderr: expect.stringMatching(/^sni-handoff needs a C compiler/) });
  });
});
