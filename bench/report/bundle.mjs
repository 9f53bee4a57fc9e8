/**
 * Makes dist/drawing.mjs of what draws the page's charts, other people's modules included: who installs the package needs
 * none of these, and nothing but the page does. For `npm pack`; in a clone the page loads drawing.mjs itself.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";
import { licences } from "../../src/licences.mjs";

const folder = process.argv[2] ?? fileURLToPath(new URL("../../dist", import.meta.url));

const bundle = await rolldown({
  input: fileURLToPath(new URL("./drawing.mjs", import.meta.url)),
  platform: "node",
  // linkedom looks for it, for pictures, and does without.
  external: ["canvas"],
});
const { output } = await bundle.write({
  file: join(folder, "drawing.mjs"),
  format: "esm",
  minify: true,
  comments: false,
});
await bundle.close();
const modules = output.flatMap((chunk) => ("modules" in chunk ? Object.keys(chunk.modules) : []));
writeFileSync(join(folder, "drawing.LICENSES"), licences(modules));
