/** The prebuilt binaries: what they need of a machine, and that they work on those that can be had here. */
import { execFileSync } from "node:child_process";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { peer } from "../interop/support/peers.js";
import { certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { sniHandoff } from "../support/command-line.js";
import { get } from "../support/https-client.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";
import { Published, root } from "./published.js";

const published = new Published();
const prebuilt = (...parts: readonly string[]) => join(published.clone, "native/prebuilt", ...parts);
const files = ["Release/sni_handoff.node", "preload/libsnihandoff.so", "preload/sni-handoff-helper"];
const platforms = ["linux-x64-glibc", "linux-x64-musl", "linux-arm64-glibc", "linux-arm64-musl"];

beforeAll(async () => {
  await published.prebuild();
  // As where nothing was built when it was installed.
  rmSync(join(published.clone, "native/build"), { recursive: true });
  cpSync(join(root, "test/fixtures/conforming.mjs"), join(published.clone, "conforming.mjs"));
}, 900_000);
afterAll(() => published.remove());

/** readelf(1). */
const elf = (options: string, file: string) => execFileSync(peer("readelf"), [options, file], { encoding: "utf8" });

describe.each(platforms)("%s", (platform) => {
  it.each(files)("%s is for its processor, and hardened", (file) => {
    const machine = /Machine: +(.*)/.exec(elf("-hW", prebuilt(platform, file)))![1];
    expect(machine).toBe(platform.includes("arm64") ? "AArch64" : "Advanced Micro Devices X86-64");
    const segments = elf("-lW", prebuilt(platform, file));
    expect(segments).toMatch(/GNU_STACK.* RW +0/);
    expect(segments).toMatch(/GNU_RELRO/);
    // Writable and executable at once: none.
    expect(segments).not.toMatch(/LOAD.* RWE /);
    const dynamic = elf("-dW", prebuilt(platform, file));
    expect(dynamic).not.toMatch(/RPATH|RUNPATH|TEXTREL/);
    if (/NEEDED/.test(dynamic)) expect(dynamic).toMatch(/BIND_NOW|Flags:.* NOW/);
  });

  it.each(files)("%s needs the C library alone, glibc not above 2.28", (file) => {
    const needed = [...elf("-dW", prebuilt(platform, file)).matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(
      (match) => match[1]!,
    );
    const own = platform.includes("musl")
      ? /^libc\.so$/
      : /^(lib(c|dl|m|pthread)\.so\.[26]|libpthread\.so\.0|ld-linux-.*\.so\.\d)$/;
    expect(needed.filter((library) => !own.test(library))).toEqual([]);
    const versions = [...elf("-VW", prebuilt(platform, file)).matchAll(/Name: GLIBC_2\.(\d+)/g)].map((match) =>
      Number(match[1]),
    );
    expect(Math.max(0, ...versions)).toBeLessThanOrEqual(28);
  });

  it("the addon takes nothing but Node-API and libuv from Node", () => {
    const undefinedSymbols = elf("--dyn-syms", prebuilt(platform, files[0]!))
      .split("\n")
      .flatMap((line) => /\sUND\s+([^\s@]+)(@\S+)?/.exec(line)?.[1] ?? []);
    const ofNode = undefinedSymbols.filter((symbol) => /^(napi|node|uv|v8)/.test(symbol));
    expect(ofNode.length).toBeGreaterThan(20);
    expect(ofNode.filter((symbol) => !/^(napi|uv)_/.test(symbol))).toEqual([]);
  });
});

it("the same bytes come of the same sources in another folder, without what was compiled before", async () => {
  const other = new Published();
  try {
    await other.prebuild(undefined, "fresh");
    for (const platform of platforms) {
      for (const file of files) {
        const again = readFileSync(join(other.clone, "native/prebuilt", platform, file));
        expect(again.equals(readFileSync(prebuilt(platform, file))), `${platform}/${file}`).toBe(true);
      }
    }
  } finally {
    other.remove();
  }
}, 900_000);

// Both at once: the kit waits most of its time.
describe.concurrent.each([
  ["x64 with musl", "node-musl", "linux-x64-musl"],
  ["arm64 with glibc, emulated", "node-arm64", "linux-arm64-glibc"],
])("on %s", (_, name, platform) => {
  const scene = new Scene();
  const folder = published.clone;
  afterAll(() => scene.end());

  it("is what its platform is called", () => {
    const printed = execFileSync(
      peer(name),
      ["-p", `require(${JSON.stringify(join(folder, "native/platform.cjs"))}).platformName()`],
      { encoding: "utf8" },
    );
    expect(printed).toBe(`${platform}\n`);
  });

  it("a receiver with the prebuilt addon keeps every rule", async () => {
    const path = scene.at("conforming");
    const start = `exec ${peer(name)} ${join(folder, "conforming.mjs")} ${path} echo`;
    const { status, stdout } = await sniHandoff([
      "conform",
      "--path",
      path,
      "--probe",
      "echo",
      "--start",
      start,
      "--sockets",
      "100",
      "--timeout",
      "60",
    ]);
    expect(
      stdout.split("\n").filter((line) => line.startsWith("not ok")),
      stdout,
    ).toEqual([]);
    expect(status).toBe(0);
  }, 600_000);

  it("a door with the prebuilt addon hands over to a receiver of this platform", async () => {
    const app = await certificate("app.test");
    await scene.backend({ kind: "https", path: scene.at("app"), certificate: app });
    const file = join(scene.folder, "door.yaml");
    writeFileSync(
      file,
      `listeners: [{ address: "127.0.0.1:0" }]\nbackends: { app: { handoff: "${scene.at("app")}", hold: 60s } }\nroutes: { app.test: app }\ntimeouts: { hello: 60s }\n`,
    );
    const door = new Child(peer(name), [join(folder, "dist/cli/main.js"), "serve", "--config", file]);
    try {
      const ready = () => door.lines.find((line) => line.includes('"event":"ready"'));
      const port = Number(/127\.0\.0\.1:(\d+)/.exec(await until("the door to be ready", ready, 120_000))![1]);
      for (let i = 0; i < 50; i++) expect((await get(port, app, `/${i}`)).body.url).toBe(`/${i}`);
    } finally {
      expect(await door.end()).toEqual({ status: 0, signal: null });
    }
  }, 300_000);
});
