/**
 * Servers of other projects, as they are: each once accepting by itself, and once under the preload library, behind the
 * door. Two ports each: over TLS, and plain, where the load generator's bare hellos are answered as a broken request is.
 */
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { BenchFailure } from "../failure.mjs";
import { nameOf } from "../names.mjs";
import { Child, processTree } from "../process.mjs";
import { freePort, listening, serverEnvironment, versionText } from "./origin.mjs";

const program = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const library = fileURLToPath(new URL("../../native/build/preload/libsnihandoff.so", import.meta.url));
const START_MILLISECONDS = 30_000;

/** What requests.c knows an answer's end by. */
export const ANSWER_END = "from bench\n";
/** The server name of the port with TLS; nameOf(0) is that of the plain one. */
export const TLS_NAME = "app.bench.example";

/**
 * @typedef {object} Site what a server is configured with
 * @property {string} folder its own
 * @property {number} workers processes, or threads
 * @property {string} tls address of the port with TLS, "127.0.0.1:443"
 * @property {string} plain
 * @property {{ cert: string, key: string }} pem
 *
 * @typedef {object} Server
 * @property {string} name
 * @property {string} title
 * @property {string} program that says its version with `-v`
 * @property {string} debian the package it is in
 * @property {(site: Site) => Promise<string[]>} configure writes its files; the command that starts it in the foreground
 *
 * @typedef {object} Running
 * @property {{ tls: string, plain: string }} addresses where clients connect
 * @property {() => number[]} serverPids
 * @property {() => number[]} helperPids of the preload library
 * @property {() => number[]} doorPids
 * @property {() => Promise<void>} stop
 */

/** @type {Server} */
export const nginx = {
  name: "nginx",
  title: "nginx",
  program: "nginx",
  debian: "nginx",
  async configure({ folder, workers, tls, plain, pem }) {
    await mkdir(join(folder, "logs"));
    await writeFile(join(folder, "site.crt"), pem.cert);
    await writeFile(join(folder, "site.key"), pem.key);
    await writeFile(
      join(folder, "nginx.conf"),
      `daemon off;
worker_processes ${workers};
pid ${folder}/nginx.pid;
error_log stderr crit;
events { worker_connections 4000; }
http {
  access_log off;
${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `  ${kind}_temp_path ${folder}/${kind};\n`).join("")}  keepalive_requests 1000000000;
  server {
    listen ${tls} ssl;
    listen ${plain};
    ssl_certificate ${folder}/site.crt;
    ssl_certificate_key ${folder}/site.key;
    location / { return 200 "hello ${ANSWER_END.replace("\n", "\\n")}"; }
  }
}
`,
    );
    return ["nginx", "-p", folder, "-e", "stderr", "-c", join(folder, "nginx.conf")];
  },
};

/** @type {Server} */
export const haproxy = {
  name: "haproxy",
  title: "HAProxy",
  program: "haproxy",
  debian: "haproxy",
  async configure({ folder, workers, tls, plain, pem }) {
    await writeFile(join(folder, "site.pem"), `${pem.cert}\n${pem.key}\n`);
    await writeFile(
      join(folder, "haproxy.cfg"),
      `global
  nbthread ${workers}
  maxconn 4000
defaults
  mode http
  timeout client 1m
  timeout http-keep-alive 1m
  timeout connect 5s
  timeout server 5s
frontend site
  bind ${tls} ssl crt ${folder}/site.pem
  bind ${plain}
  http-request return status 200 content-type text/plain string "hello ${ANSWER_END.replace("\n", "\\n")}"
`,
    );
    return ["haproxy", "-db", "-f", join(folder, "haproxy.cfg")];
  },
};

/** The event MPM; with modules as Debian builds them: what another build has linked in is told by the error. @type {Server} */
export const apache = {
  name: "apache",
  title: "Apache",
  program: "apache2",
  debian: "apache2-bin",
  async configure({ folder, workers, tls, plain, pem }) {
    await writeFile(join(folder, "site.crt"), pem.cert);
    await writeFile(join(folder, "site.key"), pem.key);
    await mkdir(join(folder, "site"));
    // It serves as another user than root, who must get there.
    await chmod(folder, 0o711);
    await chmod(dirname(folder), 0o711);
    await writeFile(join(folder, "site", "index.html"), `hello ${ANSWER_END}`);
    const modules = ["mpm_event", "ssl", "dir", "authz_core"];
    await writeFile(
      join(folder, "apache.conf"),
      `ServerRoot ${folder}
${modules.map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so\n`).join("")}PidFile ${folder}/apache.pid
DefaultRuntimeDir ${folder}
Mutex file:${folder} default
ErrorLog ${folder}/error.log
LogLevel crit
ServerName ${TLS_NAME}
${process.getuid?.() === 0 ? "User nobody\nGroup nogroup\n" : ""}StartServers ${workers}
ServerLimit ${workers}
ThreadsPerChild 64
MaxRequestWorkers ${64 * workers}
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
Listen ${tls} https
Listen ${plain} http
DocumentRoot ${folder}/site
DirectoryIndex index.html
<VirtualHost ${tls}>
  SSLEngine on
  SSLCertificateFile ${folder}/site.crt
  SSLCertificateKeyFile ${folder}/site.key
</VirtualHost>
`,
    );
    return ["apache2", "-DFOREGROUND", "-f", join(folder, "apache.conf")];
  },
};

export const servers = [nginx, haproxy, apache];

/** Why a server cannot take part, and what to do about it; null if it can. @param {Server} server @returns {string | null} */
export function missing(server) {
  if (versionText(server.program, "-v") === undefined) {
    return `there is no ${server.program} here: apt-get install ${server.debian} (in a clone: bash test/interop/install.sh ${server.program})`;
  }
  const absent = [program, library].find((file) => !existsSync(file));
  return absent === undefined ? null : `${absent} is not there: build it first (npm run build)`;
}

/**
 * @typedef {object} Start
 * @property {Server} server
 * @property {string} folder
 * @property {number} workers
 * @property {{ cert: string, key: string }} pem
 * @property {import("../compile.mjs").Programs} programs
 * @property {AbortSignal} signal gives up
 */

/** The server, accepting by itself. @param {Start} start @returns {Promise<Running>} */
export async function startOwn(start) {
  const addresses = { tls: `127.0.0.1:${await freePort()}`, plain: `127.0.0.1:${await freePort()}` };
  const server = await spawnServer(start, addresses, {});
  try {
    await listening(server.child, addresses.plain, start.signal);
  } catch (error) {
    await server.stop();
    throw error;
  }
  return {
    addresses,
    serverPids: () => processTree(server.child.pid),
    helperPids: () => [],
    doorPids: () => [],
    stop: server.stop,
  };
}

/** The same server with the library, and the door before it. @param {Start} start @returns {Promise<Running>} */
export async function startPreloaded(start) {
  const { folder, programs, signal } = start;
  const paths = { tls: join(folder, "tls.sock"), plain: join(folder, "plain.sock") };
  // No port is taken: any will do.
  const addresses = { tls: "127.0.0.1:443", plain: "127.0.0.1:80" };
  const server = await spawnServer(start, addresses, {
    LD_PRELOAD: library,
    SNI_HANDOFF: `${addresses.tls}=${paths.tls},${addresses.plain}=${paths.plain}`,
  });
  const file = join(folder, "door.yaml");
  const configuration = {
    workers: 1,
    listeners: [{ address: "127.0.0.1:0" }],
    backends: { tls: { handoff: paths.tls }, plain: { handoff: paths.plain } },
    routes: { [TLS_NAME]: "tls", [nameOf(0)]: "plain" },
  };
  // JSON is YAML.
  await writeFile(file, JSON.stringify(configuration, null, 2));
  const door = new Child("The door", programs.tether, [process.execPath, program, "serve", "--config", file]);
  /** @type {string} */
  let address;
  try {
    address = await door.find(
      (line) => (line.event === "ready" ? line.listeners?.[0] : undefined),
      START_MILLISECONDS,
      signal,
    );
  } catch (error) {
    await door.stop();
    await server.stop();
    throw error;
  }
  return {
    addresses: { tls: address, plain: address },
    serverPids: () => processTree(server.child.pid),
    helperPids: () => helpersOf(folder),
    doorPids: () => processTree(door.pid),
    async stop() {
      await door.stop();
      await server.stop();
    },
  };
}

/** @param {Start} start @param {{ tls: string, plain: string }} addresses @param {NodeJS.ProcessEnv} environment */
async function spawnServer({ server, folder, workers, pem, programs, signal }, addresses, environment) {
  const command = await server.configure({ folder, workers, pem, ...addresses });
  // Not for the tether's sake too: the library is for the server alone.
  const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  const child = new Child(server.title, programs.tether, ["env", ...variables, ...command], serverEnvironment);
  // Its workers outlive a master that is killed: whatever ends the benchmark ends the process group.
  const guard = spawn("/bin/sh", ["-c", 'read -r _; kill -KILL "-$1"', "sh", String(child.pid)], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
  });
  const stop = async () => {
    await child.stop();
    guard.kill("SIGKILL");
  };
  await sleep(100, undefined, { signal }).catch(() => {});
  if (child.hasEnded || signal.aborted) {
    await stop();
    signal.throwIfAborted();
    throw new BenchFailure(`${server.title} ended at once${child.quote()}`);
  }
  return { child, stop };
}

/** The helpers of the paths in a folder: they leave the server's processes (daemon(7)). @param {string} folder @returns {number[]} */
function helpersOf(folder) {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        const [command, ...rest] = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
        return command.endsWith("/sni-handoff-helper") && rest.some((argument) => argument.startsWith(`${folder}/`));
      } catch {
        return false; // gone
      }
    });
}
