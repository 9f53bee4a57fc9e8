/** nginx's stream proxy, routing by server name (ssl_preread), in one process. */
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { nameOf } from "../names.mjs";
import { Child, processTree } from "../process.mjs";
import { freePort, listening, serverEnvironment, startOrigin, versionText } from "./origin.mjs";

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
 * about the most bytes for its CPU time, twice those of 16k. An access log costs a write for each connection and is off.
 * Without a master, that it might outlive, the one process does what a worker does.
 *
 * @param {string} folder @param {string} listen @param {string} origin
 */
export const nginxConfiguration = (folder, listen, origin) => `${streamModule() ?? ""}daemon off;
master_process off;
pid ${folder}/nginx.pid;
error_log stderr crit;
events {
    worker_connections 9000;
    multi_accept on;
}
stream {
    access_log off;
    map $ssl_preread_server_name $target {
        ${nameOf(0)} ${origin};
    }
    server {
        listen ${listen} backlog=65535;
        ssl_preread on;
        proxy_pass $target;
        proxy_buffer_size 256k;
        tcp_nodelay on;
    }
}
`;

/** @type {import("./contestant.mjs").Contestant} */
export const nginx = {
  name: "nginx",
  title: "nginx, ssl_preread",
  looksUpNames: false,
  missing: () => {
    const how = "apt-get install nginx libnginx-mod-stream (in a clone: bash test/interop/install.sh nginx)";
    if (versionText("nginx", "-v") === undefined) {
      return `there is no nginx here: ${how}`;
    }
    return streamModule() === undefined ? `this nginx has no stream module: ${how}` : null;
  },
  async start(place) {
    const { origin, address: target } = await startOrigin(place);
    const address = `127.0.0.1:${await freePort()}`;
    const file = join(place.folder, "nginx.conf");
    await mkdir(join(place.folder, "logs"));
    await writeFile(file, nginxConfiguration(place.folder, address, target));
    const command = ["nginx", "-p", place.folder, "-e", "stderr", "-c", file];
    const router = new Child("nginx", place.programs.tether, command, serverEnvironment);
    await listening(router, address, place.signal);
    return {
      address,
      routerPids: () => processTree(router.pid),
      serverPids: () => [origin.pid],
      async stop() {
        await router.stop();
        await origin.stop();
      },
    };
  },
};
