/** dist/service/, made of a copy of dist/: it is used unless the compiler has run since. */
import { appendFileSync, cpSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { Child } from "../support/child.js";
import { runNode } from "../support/command-line.js";
import { Folder } from "../support/folder.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = new Folder();

const configuration = folder.write(
  "door.yaml",
  `listeners: [{ address: 127.0.0.1:0 }]
"workers": 3
metrics: { address: 127.0.0.1:0 }
control: ${folder.at("control.sock")}
backends: { app: { handoff: ${folder.at("app.sock")} } }
default: app
`,
);

/** The files of the program that a command loads, relative to dist/. */
async function loaded(): Promise<string> {
  const env = { ...process.env, NODE_DEBUG: "esm,module" };
  const main = folder.at("dist/cli/main.js");
  const { status, stderr } = await runNode([main, "serve", "--config", folder.at("nowhere.yaml")], { env });
  expect(status).toBe(2);
  return stderr;
}

beforeAll(async () => {
  cpSync(`${root}/dist`, folder.at("dist"), { recursive: true });
  rmSync(folder.at("dist/service"), { recursive: true, force: true });
  for (const file of [
    "package.json",
    "src/bundle.mjs",
    "src/licences.mjs",
    "src/load.cjs",
    "src/warm.cjs",
    "native/build/Release",
  ])
    cpSync(`${root}/${file}`, folder.at(file), { recursive: true });
  symlinkSync(`${root}/node_modules`, folder.at("node_modules"));
});

describe("a service", () => {
  test("is loaded as it was compiled while there is no bundle", async () => {
    expect(await loaded()).toContain("dist/daemon/serve.js");
  });

  test("is loaded from the bundle, with what V8 has kept", async () => {
    expect(await runNode([folder.at("src/bundle.mjs")])).toEqual({ status: 0, stdout: "", stderr: "" });
    const kept = readdirSync(folder.at("dist/service")).filter((name) => name.endsWith(".cache"));
    expect(kept.map((name) => name.replace(/-.*/, ""))).toEqual(expect.arrayContaining(["serve", "worker"]));
    const used = await loaded();
    expect(used).toContain("dist/service/service.cjs");
    expect(used).not.toContain("dist/daemon/");
  });

  test("serves from the bundle: its workers, however many, its control socket and its metrics", async () => {
    const main = folder.at("dist/cli/main.js");
    const child = new Child(process.execPath, [main, "serve", "--config", configuration]);
    try {
      await child.line("ready", (line) => line.includes('"event":"ready"'));
      const status = await runNode([main, "status", "--control", folder.at("control.sock"), "--json"]);
      expect(JSON.parse(status.stdout).workers).toHaveLength(3);
      const metrics = await fetch(`http://${JSON.parse(status.stdout).metrics}/metrics`);
      expect(await metrics.text()).toContain("sni_handoff_");
    } finally {
      expect(await child.end("SIGTERM")).toMatchObject({ status: 0 });
    }
    expect(child.stderr).toBe("");
  });

  test("is loaded as it was compiled when that was later than the bundle", async () => {
    appendFileSync(folder.at("dist/.tsbuildinfo"), "\n");
    expect(await loaded()).toContain("dist/daemon/serve.js");
  });

  test("is loaded from the bundle where there is no record of the compiler: in a package", async () => {
    rmSync(folder.at("dist/.tsbuildinfo"));
    rmSync(folder.at("dist/.service.tsbuildinfo"));
    expect(await loaded()).not.toContain("dist/daemon/");
  });
});
