/** nginx's stream proxy, routing by server name (ssl_preread), in one process. */
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { nameOf, writeMap } from "../names.mjs";
import { processTree } from "../process.mjs";
import { versionText } from "./origin.mjs";
import { makePeer, reloaded } from "./peer.mjs";

/** A line that loads the stream module where it is one of its own (Debian); undefined if there is none. */
function streamModule() {
  const built = versionText("nginx", "-V") ?? "";
  if (/--with-stream(\s|$)/.test(built)) {
    return "";
  }
  const folder = /--modules-path=(\S+)/.exec(built)?.[1] ?? "/usr/lib/nginx/modules";
  const file = join(folder, "ngx_stream_module.so");
  return existsSync(file) ? `load_module ${file};\n` : undefined;
}

/**
 * nginx copies through a buffer for each direction (proxy_buffer_size): of 16k, its default, to 1m the one of 256k moved
 * about the most bytes for its CPU time, twice those of 16k; short connections do best with the default. An access log
 * costs a write for each connection and is off. Without a master the one process does what a worker does. Many names are
 * in a hash, which is built at start (map_hash_max_size).
 *
 * @param {import("./peer.mjs").Target} target
 * @param {string | undefined} buffer
 */
function configuration({ folder, listen, target, names, wildcards, service, clients }, buffer) {
  const many = names > 1 || wildcards;
  return `${streamModule() ?? ""}daemon off;
${service ? "worker_processes 1;" : "master_process off;"}
pid ${folder}/nginx.pid;
error_log stderr crit;
events {
    worker_connections ${2 * clients + 1000};
    multi_accept on;
}
stream {
    access_log off;
${many ? `    map_hash_max_size ${Math.max(2048, 2 * names)};\n    map_hash_bucket_size 128;\n` : ""}    map $ssl_preread_server_name $target {
${wildcards ? "        hostnames;\n" : ""}        ${many ? `include ${folder}/names.map` : `${nameOf(0)} ${target}`};
    }
    server {
        listen ${listen} backlog=65535;
        ssl_preread on;
        proxy_pass $target;
${buffer === undefined ? "" : `        proxy_buffer_size ${buffer};\n`}        tcp_nodelay on;
    }
}
`;
}

/** With large buffers, for bytes. */
export const nginx = makeNginx("256k");
/** With its own, for connections. */
export const nginxShort = makeNginx(undefined);

/** @param {string | undefined} buffer */
function makeNginx(buffer) {
  return makePeer({
    ...{ name: "nginx", title: "nginx, ssl_preread", program: "nginx", package: "nginx libnginx-mod-stream" },
    ...{ version: ["-v"], mostNames: 1_000_000, wildcards: true },
    lacks: () =>
      streamModule() === undefined
        ? "this nginx has no stream module: apt-get install nginx libnginx-mod-stream (in a clone: bash test/interop/install.sh nginx)"
        : null,
    configuration: (target) => configuration(target, buffer),
    async configure(target) {
      const { folder, names, wildcards } = target;
      const file = join(folder, "nginx.conf");
      await mkdir(join(folder, "logs"));
      if (names > 1 || wildcards) {
        const star = wildcards ? "*." : "";
        await writeMap(join(folder, "names.map"), names, "", (name) => `${star}${name} ${target.target};\n`);
      }
      await writeFile(file, configuration(target, buffer));
      return ["nginx", "-p", folder, "-e", "stderr", "-c", file];
    },
    // SIGTERM cuts connections off (nginx, "Controlling nginx"); Debian's service stops it by SIGQUIT.
    stopSignal: "SIGQUIT",
    /** The master starts a new worker and tells the one before to end when its connections have (nginx, "Controlling nginx"). */
    reload(router) {
      const before = processTree(router.pid).slice(1);
      router.signal("SIGHUP");
      return reloaded("nginx's new worker", () => {
        const now = processTree(router.pid).slice(1);
        return now.length > 0 && !now.some((pid) => before.includes(pid));
      });
    },
  });
}
