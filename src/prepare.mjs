/**
 * Makes a clone ready to run: installs, builds the addon, compiles. Behind `npm start` and `npm test`; does nothing, and
 * says nothing, when all is up to date. Plain Node without dependencies: it runs before there are any.
 *
 * Standard output stays empty; what it does goes to standard error. Exit status: 0 ready, 1 not (with the reason).
 */

const OLDEST_NODE = [20, 19];

class Remedy extends Error {}

async function main() {
  checkSystem();
  const { root, steps } = await plan();
  if (!steps.some((step) => step.needed())) return;

  const release = await lock(root);
  try {
    // Another process may have done it while this one waited.
    for (const step of steps) if (step.needed()) await timed(step.title, step.run);
  } finally {
    release();
  }
}

function checkSystem() {
  if (process.platform !== "linux") {
    throw new Remedy(
      `sni-handoff runs on Linux only (this is ${process.platform}): epoll, SCM_RIGHTS and TCP_DEFER_ACCEPT are its ground`,
    );
  }
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1])) {
    throw new Remedy(
      `sni-handoff needs Node ${OLDEST_NODE.join(".")} or later, this is ${process.version}: install a newer one (https://nodejs.org)`,
    );
  }
}

/** What may have to be done, in order. Imports are late so that the checks above run on any Node. */
async function plan() {
  const fs = await import("node:fs");
  const path = await import("node:path");
  const { fileURLToPath } = await import("node:url");
  const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
  const at = (...parts) => path.join(root, ...parts);

  const modified = (file) => fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs;

  /** Files below a folder, relative to it, with `pick` choosing among their names. */
  function files(folder, pick) {
    if (!fs.existsSync(folder)) return [];
    return fs
      .readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && pick(entry.name))
      .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
      .sort();
  }

  // --- dependencies ---------------------------------------------------------------------------------------------------
  const installed = at("node_modules", ".package-lock.json");
  const install = {
    title: "installing dependencies (npm ci)",
    needed: () => !(modified(installed) >= modified(at("package-lock.json"))),
    // The addon is built below, where a missing compiler gets a clear sentence.
    run: () => command(npm(), ["ci", "--ignore-scripts", "--include=dev", "--no-audit", "--no-fund"], root),
  };

  // --- addon ----------------------------------------------------------------------------------------------------------
  // As native/build.mjs judges it, which would take a process of its own to ask.
  const addon = at("native", "build", "Release", "sni_handoff.node");
  const builtFor = at("native", "build", "built-for");
  const buildAddon = {
    title: "building the native addon",
    needed: () => {
      const built = modified(addon);
      if (built === undefined || !fs.existsSync(builtFor)) return true;
      if (!fs.readFileSync(builtFor, "utf8").startsWith(`node abi ${process.versions.modules},`)) return true;
      const sources = fs.readdirSync(at("native")).filter((name) => /\.(c|h|gyp)$/.test(name));
      if (sources.some((source) => modified(at("native", source)) > built)) return true;
      const preload = modified(at("native", "build", "preload", "libsnihandoff.so"));
      const ofPreload = files(at("native", "preload"), (name) => /\.(c|h|mjs)$/.test(name));
      return ofPreload.some((source) => !(modified(at("native", "preload", source)) <= preload));
    },
    run: () => command(process.execPath, [at("native", "build.mjs")], root),
  };

  // --- TypeScript -----------------------------------------------------------------------------------------------------
  const stamp = at("dist", ".prepared");
  const sources = () => files(at("src"), (name) => name.endsWith(".ts"));
  const outputs = (source) => [".js", ".d.ts", ".js.map"].map((ending) => source.replace(/\.ts$/, ending));
  /** Changes with every source that is edited, added, removed or checked out. */
  const fingerprint = () =>
    [...sources().map((source) => path.join("src", source)), "tsconfig.json", "package-lock.json"]
      .map((file) => {
        const { mtimeMs, size } = fs.statSync(at(file));
        return `${file} ${mtimeMs} ${size}\n`;
      })
      .join("");
  const compile = {
    title: "compiling TypeScript",
    needed: () => {
      const stamped = fs.existsSync(stamp) ? fs.readFileSync(stamp, "utf8") : "";
      return stamped !== fingerprint() || sources().some((source) => !fs.existsSync(at("dist", outputs(source)[0])));
    },
    run: async () => {
      const before = fingerprint();
      const expected = new Set(sources().flatMap(outputs));
      for (const file of files(at("dist"), (name) => /\.(js|d\.ts|js\.map)$/.test(name))) {
        if (!expected.has(file)) fs.rmSync(at("dist", file));
      }
      // With its record of an earlier build the compiler would not write again what was removed from dist.
      for (const file of expected)
        if (!fs.existsSync(at("dist", file))) fs.rmSync(at("dist", ".tsbuildinfo"), { force: true });
      await command(process.execPath, [at("node_modules", "typescript", "bin", "tsc"), "--project", root], root);
      fs.writeFileSync(stamp, before);
    },
  };

  // --- manual page ----------------------------------------------------------------------------------------------------
  const page = at("dist", "sni-handoff.1");
  const program = at("dist", "cli", "main.js");
  const manual = {
    title: "writing the manual page",
    needed: () =>
      fs.existsSync(program) && !(modified(page) >= Math.max(modified(stamp), modified(at("package.json")))),
    run: async () => fs.writeFileSync(page, await command(process.execPath, [program, "man"], root)),
  };

  // --- what a service loads -------------------------------------------------------------------------------------------
  const record = at("dist", ".tsbuildinfo");
  const bundled = at("dist", ".service.tsbuildinfo");
  const bundlers = ["bundle.mjs", "licences.mjs", "load.cjs", "warm.cjs"].map((name) => at("src", name));
  const bundle = {
    title: "bundling what a service loads",
    // As src/cli/bundle.ts judges it; and what it is made of may be another version of a dependency.
    needed: () =>
      fs.existsSync(at("src", "cli", "service.ts")) &&
      (!fs.existsSync(at("dist", "service", "service.cjs")) ||
        !(modified(bundled) >= Math.max(...[stamp, ...bundlers].map(modified))) ||
        !fs.readFileSync(bundled).equals(fs.readFileSync(record))),
    run: () => command(process.execPath, [bundlers[0]], root),
  };
  return { root, steps: [install, buildAddon, compile, bundle, manual] };
}

/** The npm that runs this script, else the one in PATH: command and leading arguments. */
function npm() {
  const script = process.env.npm_execpath;
  return script !== undefined && /npm-cli\.[cm]?js$/.test(script) ? [process.execPath, script] : ["npm"];
}

/** Runs a program; resolves to its standard output. What it wrote is shown only if it fails. */
async function command(program, args, cwd) {
  const { spawn } = await import("node:child_process");
  const [file, ...leading] = [program].flat();
  const child = spawn(file, [...leading, ...args], { cwd, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  let standardOutput = "";
  child.stdout.on("data", (text) => {
    standardOutput += text;
  });
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text) => {
      output += text;
    });
  }
  const status = await new Promise((resolve, reject) => {
    child.on("error", (error) => reject(new Remedy(`cannot run ${file}: ${error.message}`)));
    child.on("close", (code, signal) => resolve(code ?? signal));
  });
  if (status !== 0) throw new Remedy(output.trim() || `${file} ${args.join(" ")} ended with ${status}`);
  return standardOutput;
}

/** One line for each step, with the time that it took. */
async function timed(title, run) {
  const { stderr } = process;
  const begun = performance.now();
  if (stderr.isTTY) stderr.write(`${title} …`);
  try {
    await run();
  } catch (error) {
    stderr.write(stderr.isTTY ? " failed\n" : `${title} … failed\n`);
    throw error;
  }
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  stderr.write(`${stderr.isTTY ? "\r" : ""}${title} … ${seconds} s\n`);
}

/**
 * One process at a time prepares a clone. An abstract unix socket is the lock: the kernel frees it with its process, so
 * none is ever left behind.
 */
async function lock(root) {
  const { createHash } = await import("node:crypto");
  const net = await import("node:net");
  const name = `\0sni-handoff-prepare-${createHash("sha256").update(root).digest("hex").slice(0, 32)}`;
  for (let told = false; ; told = true) {
    const server = net.createServer();
    const locked = await new Promise((resolve, reject) => {
      server.once("listening", () => resolve(true));
      server.once("error", (error) => (error.code === "EADDRINUSE" ? resolve(false) : reject(error)));
      server.listen(name);
    });
    if (locked) {
      const waiting = new Set();
      server.on("connection", (socket) => waiting.add(socket.on("error", () => {})));
      return () => {
        server.close();
        for (const socket of waiting) socket.destroy();
      };
    }
    if (!told) process.stderr.write("waiting for another process that prepares this folder\n");
    // Ends when the other one releases the lock, or is refused if that was just now.
    await new Promise((resolve) =>
      net
        .connect(name)
        .on("error", () => {})
        .on("close", resolve)
        .resume(),
    );
  }
}

main().catch((error) => {
  process.stderr.write(`${error instanceof Remedy ? error.message : error.stack}\n`);
  process.exitCode = 1;
});
