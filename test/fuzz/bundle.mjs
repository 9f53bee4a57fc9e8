/**
 * A target as CommonJS, which jazzer.js instruments as it is loaded; in two files, so that it instruments only what is
 * fuzzed: src.cjs, and the target with its oracles.
 */
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { rolldown } from "rolldown";

const folder = fileURLToPath(new URL(".", import.meta.url));

const root = fileURLToPath(new URL("../../", import.meta.url));
/** In the order of their tests. The words of the hash are filled by a long loop without a decision: not worth watching. */
const groups = [
  { name: "hash", test: (id) => id === join(root, "src/routing/hash.ts") },
  { name: "src", test: (id) => id.startsWith(join(root, "src/")) },
];

/** Files are found by their module's place, which is not the bundle's. */
const places = {
  name: "places",
  transform(code, id) {
    if (!code.includes("import.meta.url")) return null;
    return code.replaceAll("import.meta.url", JSON.stringify(pathToFileURL(id).href));
  },
};

/** Other people's modules stay outside: what is fuzzed, and told from itself by its coverage, is this program. */
const isExternal = (id) => !id.startsWith(".") && !id.startsWith("/") && !id.startsWith("\0");

/** Returns the target's file. */
export async function bundle(target) {
  const built = await rolldown({
    input: join(folder, "targets", `${target}.ts`),
    platform: "node",
    external: isExternal,
    plugins: [places],
    resolve: { extensionAlias: { ".js": [".ts", ".js"] } },
  });
  const dir = join(folder, "build", target);
  const names = { entryFileNames: "target.cjs", chunkFileNames: "[name].cjs" };
  await built.write({ dir, format: "cjs", ...names, codeSplitting: { groups } });
  await built.close();
  return join(dir, "target.cjs");
}
