// Builds the addon, if it isn't there already: `node native/build.mjs`, or by npm when the package is installed.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, statSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const addon = join(here, "build", "Release", "sni_handoff.node");
const stamp = join(here, "build", "built-for");
/** What the stamp must say for an addon to be of use to this Node. */
const target = `node abi ${process.versions.modules}, ${process.platform} ${process.arch}\n`;

function fail(sentence) {
  console.error(sentence);
  process.exit(1);
}

function isUpToDate() {
  if (!existsSync(addon) || !existsSync(stamp) || readFileSync(stamp, "utf8") !== target) return false;
  const built = statSync(addon).mtimeMs;
  const sources = readdirSync(here).filter((name) => /\.(c|h|gyp|mjs)$/.test(name));
  return sources.every((name) => statSync(join(here, name)).mtimeMs <= built);
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

/** The folder whose include/node has Node's headers, if this Node was installed with them: no download is needed. */
function findHeaders() {
  const configured = process.env.npm_config_nodedir;
  const folder = configured || join(dirname(realpathSync(process.execPath)), "..");
  return configured || existsSync(join(folder, "include", "node", "node_api.h")) ? folder : undefined;
}

function build() {
  const compiler = (process.env.CC ?? "").split(" ")[0] || ["cc", "gcc", "clang"].find(findCommand);
  const needed = {
    "a C compiler": compiler && (existsSync(compiler) || findCommand(compiler)),
    make: findCommand("make"),
  };
  needed.python3 = process.env.npm_config_python || process.env.PYTHON || findCommand("python3");
  const missing = Object.keys(needed).filter((name) => !needed[name]);
  if (missing.length > 0) {
    fail(`sni-handoff needs ${missing.join(" and ")} to build its addon: apt-get install build-essential python3`);
  }
  const nodeGyp = findNodeGyp();
  if (!nodeGyp) fail("sni-handoff needs node-gyp to build its addon: npm install --global node-gyp");
  const headers = findHeaders();

  console.log(`sni-handoff: building the addon for Node ${process.version}`);
  const args = [nodeGyp, "rebuild", "-C", here, ...(headers ? [`--nodedir=${headers}`] : [])];
  const environment = { ...process.env };
  // Without a compiler of that name, make would call one that isn't there.
  if (!findCommand("cc") && !environment.CC) environment.CC = compiler;
  const run = spawnSync(process.execPath, args, { encoding: "utf8", env: environment, maxBuffer: 1 << 28 });
  if (run.status !== 0 || !existsSync(addon)) {
    console.error(`${run.stdout ?? ""}${run.stderr ?? ""}`);
    fail(
      `sni-handoff: the addon could not be built (${run.error?.message ?? `node-gyp exited with ${run.status}`}); the compiler's output is above`,
    );
  }
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, target);
}

if (process.platform !== "linux") fail(`sni-handoff runs on Linux only, not on ${process.platform}`);
if (!isUpToDate()) build();
