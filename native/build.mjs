// Builds the addon, if it isn't there already: `node native/build.mjs`, or by npm when the package is installed. There
// the one that was built for this platform before is taken, if it can be loaded: npm_config_build_from_source=true has
// it built all the same.
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { findHeaders } from "./headers.mjs";
import { takePrebuilt } from "./prebuilt.mjs";
import { buildPreload, isPreloadUpToDate } from "./preload/build.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const name = join("build", "Release", "sni_handoff.node");
const addon = join(here, name);
const sources = readdirSync(here).filter((file) => /\.(c|h|gyp|mjs)$/.test(file));
const stamp = join(here, "build", "built-for");
/** What the stamp must say for an addon to be of use to this Node. */
const target = `node abi ${process.versions.modules}, ${process.platform} ${process.arch}\n`;

/** Ends the script with one sentence. */
class Failure extends Error {}

function isUpToDate() {
  if (!existsSync(addon) || !existsSync(stamp) || readFileSync(stamp, "utf8") !== target) return false;
  const built = statSync(addon).mtimeMs;
  return sources.every((file) => statSync(join(here, file)).mtimeMs <= built);
}

/** Where `command` is in PATH, links resolved; undefined if it isn't there. */
function findCommand(command) {
  const places = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder || ".", command));
  const found = places.find((path) => existsSync(path) && statSync(path).isFile());
  return found && realpathSync(found);
}

/** node-gyp's script: the one that npm names in its lifecycle, one in PATH, or the one that came with npm. */
function findNodeGyp() {
  const named = process.env.npm_config_node_gyp;
  if (named && existsSync(named)) return named;
  const installed = findCommand("node-gyp");
  if (installed?.endsWith(".js")) return installed;
  const beside = join(dirname(process.execPath), "..", "lib", "node_modules", "npm", "bin", "npm-cli.js");
  for (const npm of [process.env.npm_execpath, findCommand("npm"), beside]) {
    if (!npm) continue;
    const bundled = join(dirname(npm), "..", "node_modules", "node-gyp", "bin", "node-gyp.js");
    if (existsSync(bundled)) return bundled;
  }
  return undefined;
}

function findCompiler() {
  return (process.env.CC ?? "").split(" ")[0] || ["cc", "gcc", "clang"].find(findCommand);
}

function build() {
  const compiler = findCompiler();
  const needed = {
    "a C compiler": compiler && (existsSync(compiler) || findCommand(compiler)),
    make: findCommand("make"),
  };
  needed.python3 = process.env.npm_config_python || process.env.PYTHON || findCommand("python3");
  const missing = Object.keys(needed).filter((name) => !needed[name]);
  if (missing.length > 0) {
    throw new Failure(
      `sni-handoff needs ${missing.join(" and ")} to build its addon: apt-get install build-essential python3`,
    );
  }
  const nodeGyp = findNodeGyp();
  if (!nodeGyp) throw new Failure("sni-handoff needs node-gyp to build its addon: npm install --global node-gyp");
  console.log(`sni-handoff: building the addon for Node ${process.version}`);
  mkdirSync(dirname(addon), { recursive: true });
  // In a folder of its own and then renamed, so that a process that loads the addon meanwhile finds the one before.
  const work = mkdtempSync(join(here, "build", "work-"));
  try {
    const begun = new Date();
    compile(work, nodeGyp, compiler);
    // A source that was edited since then is newer.
    utimesSync(join(work, name), begun, begun);
    renameSync(join(work, name), addon);
    writeFileSync(stamp, target);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function compile(work, nodeGyp, compiler) {
  for (const file of sources) copyFileSync(join(here, file), join(work, file));
  const headers = findHeaders();
  const args = [nodeGyp, "rebuild", "-C", work, ...(headers ? [`--nodedir=${headers}`] : [])];
  const environment = { ...process.env };
  // Without a compiler of that name, make would call one that isn't there.
  if (!findCommand("cc") && !environment.CC) environment.CC = compiler;
  const run = spawnSync(process.execPath, args, { encoding: "utf8", env: environment, maxBuffer: 1 << 28 });
  if (run.status === 0 && existsSync(join(work, name))) return;
  console.error(`${run.stdout ?? ""}${run.stderr ?? ""}`);
  const why = run.error?.message ?? `node-gyp exited with ${run.status}`;
  const hint = headers ? "" : "; Node's headers were not found beside it: apt-get install libnode-dev";
  throw new Failure(`sni-handoff: the addon could not be built (${why}); the compiler's output is above${hint}`);
}

/** Whether what was built before is taken; not in a clone, whose sources are what is meant. */
function tookPrebuilt() {
  const wanted = ["true", "sni-handoff"].includes(process.env.npm_config_build_from_source ?? "");
  if (wanted || existsSync(join(here, "..", "tsconfig.json"))) return false;
  const { taken, why } = takePrebuilt();
  if (taken) writeFileSync(stamp, target);
  else if (why) console.error(`sni-handoff: ${why}: building it from its sources`);
  return taken;
}

/** The door and the library for Node work without it: what is wrong is said, and the installation goes on. */
function tryPreload() {
  const compiler = findCompiler();
  const why = compiler ? buildPreload(compiler) : "there is no C compiler: apt-get install build-essential";
  if (why !== undefined)
    console.error(`${why}\nsni-handoff: without libsnihandoff.so, which could not be built (above)`);
}

try {
  if (process.platform !== "linux") throw new Failure(`sni-handoff runs on Linux only, not on ${process.platform}`);
  if (!isUpToDate() && !tookPrebuilt()) build();
  if (!isPreloadUpToDate()) tryPreload();
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
