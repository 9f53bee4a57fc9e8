/**
 * Gives up its privileges as a door does, then does what it is told on standard input: one JSON array a line, answered
 * by one JSON value a line. Lies in the root of a copy of the package.
 */
import { spawnSync } from "node:child_process";
import {
  openSync,
  promises,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { getSystemErrorName } from "node:util";
import { Worker } from "node:worker_threads";
import { InstanceWatch } from "./dist/daemon/instance-watch.js";
import { planPrivileges, privilegesInForce, reexecute, unreadableFor } from "./dist/daemon/privileges/index.js";
import { claimPath } from "./dist/handoff/path.js";
import { native } from "./dist/native/addon.js";

const [, script, file, mode] = process.argv;
const say = (value) => process.stdout.write(`${JSON.stringify(value ?? null)}\n`);
const descriptors = () =>
  readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      return [[Number(fd), readlinkSync(`/proc/self/fd/${fd}`)]];
    } catch {
      return []; // the one that read the folder
    }
  });
const stage = process.env.SNI_HANDOFF_STAGE;

if (mode === "again") {
  process.on("SIGUSR1", () => {});
  say(privilegesInForce("inherited"));
} else if (stage === undefined) {
  begin();
} else {
  const { landlock, ...before } = JSON.parse(stage);
  const handle = () => process.on("SIGUSR1", () => say("SIGUSR1"));
  if (mode !== "bare") handle();
  say({ pid: process.pid, before, descriptors: descriptors(), inForce: privilegesInForce(landlock) });
  const commands = commandsOf(handle);
  createInterface({ input: process.stdin }).on("line", async (line) => {
    const [name, ...args] = JSON.parse(line);
    say(await commands[name](...args));
  });
}

function begin() {
  const settings = JSON.parse(readFileSync(file, "utf8"));
  openSync("/etc/passwd", "r");
  const address = { address: "127.0.0.1", port: 0, backlog: 1 };
  native.listenTcp(address);
  const listener = native.listenTcp(address);
  native.listenTcp(address);
  const [kept] = native.socketPair("seqpacket");
  // Threads of the pool, whose privileges are their own.
  promises
    .readFile(file)
    .then(() => {
      const plan = planPrivileges(settings);
      const keep = [listener, kept];
      const links = keep.map((fd) => [fd, readlinkSync(`/proc/self/fd/${fd}`)]);
      const unreadable = unreadableFor(plan.identity, settings.probes ?? []);
      const before = { pid: process.pid, keep: links, unreadable, landlock: plan.outcome };
      if (mode === "unable") return unable(plan, keep, before);
      try {
        reexecute(plan, { environment: { SNI_HANDOFF_STAGE: JSON.stringify(before) }, keep });
      } catch (error) {
        say({ code: error.code, message: error.message });
      }
    })
    .catch((error) => {
      say({ code: error.code, message: error.message });
    });
}

/** The last step fails: there is no such program. */
function unable(plan, keep, before) {
  const flags = () => keep.map((fd) => /flags:\t(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))[1]);
  const flagsBefore = flags();
  const open = descriptors().length;
  const had = privilegesInForce("");
  let thrown;
  try {
    native.execute({
      file: "/nonexistent/node",
      arguments: ["node"],
      environment: [],
      keep,
      capabilities: plan.capabilities,
      identity: plan.identity,
    });
  } catch (error) {
    thrown = { code: error.code, message: error.message };
  }
  const same = {
    flags: flags().join() === flagsBefore.join(),
    descriptors: descriptors().length === open,
    privileges: JSON.stringify(privilegesInForce("")) === JSON.stringify(had),
  };
  say({ thrown, same, keep: before.keep.length });
}

function commandsOf(handle) {
  return {
    handle: () => void handle(),
    tasks: () => readdirSync("/proc/self/task").map((task) => readFileSync(`/proc/self/task/${task}/status`, "utf8")),
    read: (path) => readFileSync(path, "utf8"),
    unreadable: (paths) => unreadableFor(undefined, paths),
    connect: (path) => {
      native.close(native.connectUnix(path, "seqpacket", {}));
    },
    claim: (path) => {
      const { descriptor, release } = claimPath(path, { backlog: 1, mode: 0o600 });
      const made = statSync(path).isSocket();
      release();
      native.close(descriptor);
      return made && statSync(path, { throwIfNoEntry: false }) === undefined;
    },
    replace: (path) => {
      writeFileSync(path, "1");
      writeFileSync(`${path}.new`, String(process.pid));
      renameSync(`${path}.new`, path);
      const content = readFileSync(path, "utf8");
      rmSync(path);
      return content;
    },
    type: (addon) => getSystemErrorName(-createRequire(script)(addon).type(0)),
    again: () => spawnSync(process.execPath, [script, file, "again"], { encoding: "utf8" }),
    attempt: async (targets) => ({
      main: { ...attempt(native, targets), connect: await connectTcp(targets.port) },
      worker: await inWorker(targets),
      pool: await inPool(targets),
    }),
    watch: (backends) => {
      new InstanceWatch(backends, {
        instances: (_, paths) => say({ instances: paths }),
        appeared: (path) => say({ appeared: path }),
        insecure: (path) => say({ insecure: path }),
        unreadable: (_, path, error) => say({ unreadable: path, code: error.code }),
      });
    },
  };
}

/** The errno name of each thing tried; "" if it could be done. Also the source of a worker. */
function attempt(addon, { secret, outside, process: pid }) {
  const { readFileSync, writeFileSync, readdirSync } = process.getBuiltinModule("node:fs");
  const { spawnSync } = process.getBuiltinModule("node:child_process");
  const code = (action) => {
    try {
      const result = action();
      return result?.error?.code ?? "";
    } catch (error) {
      return error.code;
    }
  };
  const listen = (port) => addon.close(addon.listenTcp({ address: "127.0.0.1", port, backlog: 1 }));
  return {
    shadow: code(() => readFileSync("/etc/shadow")),
    read: code(() => readFileSync(secret)),
    list: code(() => readdirSync(outside)),
    write: code(() => writeFileSync(`${outside}/new`, "")),
    bindPrivileged: code(() => listen(81)),
    bind: code(() => listen(0)),
    signalInit: code(() => process.kill(1, 0)),
    signal: code(() => process.kill(pid, 0)),
    execute: code(() => spawnSync("/bin/true")),
  };
}

async function connectTcp(port) {
  const { connect } = await import("node:net");
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", (error) => resolve(error.code));
    socket.on("connect", () => {
      socket.destroy();
      resolve("");
    });
  });
}

function inWorker(targets) {
  const source = `
    import { workerData, parentPort } from "node:worker_threads";
    const { native } = await import(workerData.addon);
    ${attempt}
    ${connectTcp}
    const { targets } = workerData;
    parentPort.postMessage({ ...attempt(native, targets), connect: await connectTcp(targets.port) });
  `;
  const addon = new URL("./dist/native/addon.js", import.meta.url).href;
  const url = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
  return new Promise((resolve, reject) => {
    new Worker(url, { workerData: { addon, targets } }).on("message", resolve).on("error", reject);
  });
}

async function inPool({ secret, outside }) {
  const code = (promise) => promise.then(() => "").catch((error) => error.code);
  return {
    shadow: await code(promises.readFile("/etc/shadow")),
    read: await code(promises.readFile(secret)),
    list: await code(promises.readdir(outside)),
    write: await code(promises.writeFile(`${outside}/new`, "")),
  };
}
