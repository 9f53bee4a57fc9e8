/**
 * Makes dist/service/ of what the compiler wrote: all that a service loads, other people's modules included, in a few
 * files (src/cli/bundle.ts loads them). CommonJS, as Node reads that in one go.
 */
import { chmodSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, "dist");
const folder = join(dist, "service");
const entries = { service: join(dist, "cli/service.js"), worker: join(dist, "door/worker.js") };

/** Loaded rarely, and then from node_modules. */
const external = ["pino-pretty", "prom-client", "node-unix-socket", "yargs"];

/** Files that a module names by their place beside itself, as seen from the bundle. */
const places = {
  name: "places",
  transform(code, id) {
    if (!id.startsWith(dist) || !code.includes("import.meta.url")) return null;
    return code.replace(/new URL\("([^"]+)", import\.meta\.url\)/g, (_, path) => {
      const target = resolve(dirname(id), path);
      const entry = Object.keys(entries).find((name) => entries[name] === target);
      const place = entry === undefined ? relative(folder, target) : `./${entry}.cjs`;
      return `new URL("${place}${path.endsWith("/") ? "/" : ""}", import.meta.url)`;
    });
  },
};

/** The licences of the packages that modules are from: they ask for being copied along. */
function licences(modules) {
  const packages = modules.map((id) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id)?.[0]).filter(Boolean);
  return [...new Set(packages)].sort().map((place) => {
    const { name, version, license } = JSON.parse(readFileSync(join(place, "package.json"), "utf8"));
    const file = ["LICENSE", "LICENSE.md", "LICENCE", "license"].map((each) => join(place, each)).find(existsSync);
    const text = file === undefined ? `Licence: ${license}` : readFileSync(file, "utf8").trim();
    return `${name} ${version}\n\n${text}\n`;
  });
}

const fresh = mkdtempSync(join(dist, ".service-"));
try {
  const record = join(dist, ".tsbuildinfo");
  const before = readFileSync(record);
  const bundle = await rolldown({
    input: entries,
    platform: "node",
    external,
    // The same modules in another format, of which what is not needed can be left out.
    resolve: { alias: { yaml: join(root, "node_modules/yaml/browser/index.js") } },
    plugins: [places],
    checks: { ineffectiveDynamicImport: false },
  });
  const names = { entryFileNames: "[name].cjs", chunkFileNames: "[name].cjs", comments: false };
  const { output } = await bundle.write({ dir: fresh, format: "cjs", ...names });
  await bundle.close();
  const modules = output.flatMap((chunk) => Object.keys(chunk.modules ?? {}));
  chmodSync(fresh, 0o755); // mkdtemp's is its owner's alone
  writeFileSync(join(fresh, "LICENSES"), licences(modules).join(`\n${"-".repeat(80)}\n\n`));
  rmSync(folder, { recursive: true, force: true });
  renameSync(fresh, folder);
  writeFileSync(join(dist, ".service.tsbuildinfo"), before);
} finally {
  rmSync(fresh, { recursive: true, force: true });
}
