/**
 * Loads the modules of its folder, dist/service/, with what V8 made of them before if that is there (warm.cjs): compiling
 * them takes as long as running them. It is used by the very V8 that made it only, with the same flags; and the names of
 * the modules contain their digests, so that it is of the same text.
 */
const { readFileSync } = require("node:fs");
const { createRequire } = require("node:module");
const { join } = require("node:path");
const { Script } = require("node:vm");

const HEAD = "(function (exports, require, module, __filename, __dirname) { ";
const requireOther = createRequire(__filename);
const modules = new Map();
const scripts = new Map();

/** The exports of a module of this folder: "./serve-1a2b3c4d.cjs". */
function load(name) {
  const known = modules.get(name);
  if (known !== undefined) return known.exports;
  const module = { exports: {} };
  modules.set(name, module);
  const script = compile(name);
  const require = (id) => (id.startsWith("./") ? load(id) : requireOther(id));
  script.runInThisContext()(module.exports, require, module, join(__dirname, name), __dirname);
  return module.exports;
}

function compile(name) {
  const filename = join(__dirname, name);
  const script = new Script(`${HEAD}${readFileSync(filename, "utf8")}\n})`, {
    filename,
    columnOffset: -HEAD.length,
    cachedData: read(`${filename}.cache`),
  });
  scripts.set(name, script);
  return script;
}

function read(file) {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}

module.exports = { load, compile, scripts };
