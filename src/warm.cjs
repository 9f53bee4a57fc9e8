/**
 * Runs the service until standard input ends, then keeps what V8 has compiled for it: `node warm.cjs FILE`, in
 * dist/service/. Without that the service starts all the same, only later.
 */
const { readdirSync, writeFileSync } = require("node:fs");
const { join } = require("node:path");
const { compile, scripts } = require("./load.cjs");

process.stdin.on("end", () => {
  // Those of the workers ran in other threads, or were not needed.
  for (const name of readdirSync(__dirname))
    if (/-.*\.cjs$/.test(name) && !scripts.has(`./${name}`)) compile(`./${name}`);
  for (const [name, script] of scripts) writeFileSync(join(__dirname, `${name}.cache`), script.createCachedData());
  process.exit();
});
process.stdin.resume();
require("./service.cjs").runService({ config: process.argv[2] });
