/**
 * Makes dist/service/ of what the compiler wrote: all that a service loads, other people's modules included, in a few
 * files (src/cli/bundle.ts loads them). CommonJS, as Node reads that in one go.
 */
import { spawn } from "node:child_process";
import { chmodSync, copyFileSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";
import { licences } from "./licences.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, "dist");
const folder = join(dist, "service");
const entries = { service: join(dist, "cli/service.js"), worker: join(dist, "door/worker.js") };

/** Loaded rarely, and then from node_modules. */
const external = ["pino-pretty", "prom-client", "re2js", "yargs"];

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

async function bundleInto(folder) {
  const bundle = await rolldown({
    input: entries,
    platform: "node",
    external,
    // The same modules in another format, of which what is not needed can be left out.
    resolve: { alias: { yaml: join(root, "node_modules/yaml/browser/index.js") } },
    plugins: [places],
    checks: { ineffectiveDynamicImport: false },
  });
  const names = { entryFileNames: "[name]-[hash].cjs", chunkFileNames: "[name]-[hash].cjs" };
  // What V8 has kept cannot import(): there is only require().
  const options = { comments: false, dynamicImportInCjs: false };
  const { output } = await bundle.write({ dir: folder, format: "cjs", ...names, ...options });
  await bundle.close();
  for (const { isEntry, name, fileName } of output) {
    if (!isEntry) continue;
    writeFileSync(join(folder, `${name}.cjs`), `module.exports = require("./load.cjs").load("./${fileName}");\n`);
  }
  for (const name of ["load.cjs", "warm.cjs"]) copyFileSync(join(root, "src", name), join(folder, name));
  const modules = output.flatMap((chunk) => Object.keys(chunk.modules ?? {}));
  writeFileSync(join(folder, "LICENSES"), licences(modules));
  chmodSync(folder, 0o755); // mkdtemp's is its owner's alone
}

/** Has V8's work kept beside the bundle. If the service can't run here, nothing is: that costs it time, no more. */
async function warm() {
  const place = mkdtempSync(join(tmpdir(), "sni-handoff-warm-"));
  const file = join(place, "door.yaml");
  const names = Array.from({ length: 100 }, (_, index) => `  host-${index}.example: app\n`).join("");
  const configuration = `listeners: [{ address: 127.0.0.1:0 }]
workers: 1
control: ${place}/control.sock
backends: { app: { handoff: ${place}/app.sock } }
routes:
${names}`;
  writeFileSync(file, configuration);
  try {
    const child = spawn(process.execPath, [join(folder, "warm.cjs"), file], { stdio: ["pipe", "pipe", "ignore"] });
    const ended = new Promise((resolve) => child.on("close", resolve));
    child.stdin.on("error", () => {}); // it may have ended
    let output = "";
    child.stdout.on("data", (text) => {
      output += text;
      if (output.includes('"event":"ready"')) child.stdin.end();
    });
    await ended;
  } finally {
    rmSync(place, { recursive: true });
  }
}

const fresh = mkdtempSync(join(dist, ".service-"));
try {
  const record = readFileSync(join(dist, ".tsbuildinfo"));
  await bundleInto(fresh);
  rmSync(folder, { recursive: true, force: true });
  renameSync(fresh, folder);
  await warm();
  writeFileSync(join(dist, ".service.tsbuildinfo"), record);
} finally {
  rmSync(fresh, { recursive: true, force: true });
}
