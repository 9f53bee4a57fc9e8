// Captures the PROXY headers that programs installed here write, into vectors/*.hex.
//
//     node test/proxy-protocol/capture.mjs
//
// A TCP server takes what each one sends first; what follows the header (the client's own bytes) is kept too.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const vectors = fileURLToPath(new URL("vectors/", import.meta.url));
/** What the client sends behind the header. */
const PAYLOAD = "hello";

const versionOf = (command, ...options) => {
  const said = execFileSync("sh", ["-c", `${[command, ...options].join(" ")} 2>&1`], { encoding: "utf8" });
  return said.split("\n")[0].trim();
};

const haproxy = (options, bind = "127.0.0.1") => ({
  program: "HAProxy",
  version: () => versionOf("haproxy", "-v"),
  setting: `server s 127.0.0.1:PORT ${options}`,
  start(port, own, folder) {
    const file = join(folder, "haproxy.cfg");
    writeFileSync(
      file,
      `defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n` +
        `listen l\n  bind ${bind}:${own}\n  unique-id-format %[uuid()]\n  server s 127.0.0.1:${port} ${options}\n`,
    );
    return spawn("haproxy", ["-db", "-f", file], { stdio: "ignore" });
  },
  client: (own) => connect(own, bind.replace(/[[\]]/g, "")),
});

const nginx = {
  program: "nginx",
  version: () => versionOf("nginx", "-v"),
  setting: "stream { server { proxy_protocol on; proxy_pass 127.0.0.1:PORT; } }",
  start(port, own, folder) {
    const file = join(folder, "nginx.conf");
    writeFileSync(
      file,
      `load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off;\nmaster_process off;\npid ${folder}/pid;\n` +
        `error_log ${folder}/log;\nevents {}\n` +
        `stream { server { listen 127.0.0.1:${own}; proxy_protocol on; proxy_pass 127.0.0.1:${port}; } }\n`,
    );
    return spawn("nginx", ["-p", folder, "-c", file], { stdio: "ignore" });
  },
  client: (own) => connect(own, "127.0.0.1"),
};

const curl = {
  program: "curl",
  version: () => versionOf("curl", "--version"),
  setting: "curl --haproxy-protocol http://127.0.0.1:PORT/",
  start: (port) => spawn("curl", ["--haproxy-protocol", `http://127.0.0.1:${port}/`], { stdio: "ignore" }),
};

const programs = {
  "haproxy-v1-ipv4": haproxy("send-proxy"),
  "haproxy-v1-ipv6": haproxy("send-proxy", "[::1]"),
  "haproxy-v2-ipv4": haproxy("send-proxy-v2"),
  "haproxy-v2-ipv6": haproxy("send-proxy-v2", "[::1]"),
  "haproxy-v2-tlvs": haproxy("send-proxy-v2 proxy-v2-options crc32c,unique-id"),
  "haproxy-v2-check": { ...haproxy("send-proxy-v2 check check-send-proxy inter 200ms"), client: undefined },
  "nginx-v1": nginx,
  "curl-v1": curl,
};

/** A port that was free a moment ago. */
async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Connects as soon as the program listens, and says PAYLOAD. */
function say(open, own) {
  const client = open(own);
  client.on("error", () => setTimeout(() => say(open, own), 50));
  client.once("connect", () => client.write(PAYLOAD));
}

for (const [name, { program, version, setting, start, client }] of Object.entries(programs)) {
  const folder = mkdtempSync(join(tmpdir(), "proxy-capture-"));
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const own = await freePort();
  const child = start(server.address().port, own, folder);
  if (client !== undefined) say(client, own);
  const [socket] = await once(server, "connection");
  socket.on("error", () => {});
  const chunks = [];
  socket.on("data", (chunk) => chunks.push(chunk));
  await new Promise((resolve) => setTimeout(resolve, 300));
  child.kill();
  socket.destroy();
  server.close();
  rmSync(folder, { recursive: true });
  const hex = Buffer.concat(chunks)
    .toString("hex")
    .replace(/.{1,100}/g, "$&\n");
  const head = { program, version: version(), setting, date: new Date().toISOString().slice(0, 10) };
  const lines = Object.entries(head).map(([key, value]) => `# ${key}: ${value}\n`);
  writeFileSync(join(vectors, `${name}.hex`), `${lines.join("")}${hex}`);
  console.log(
    name,
    Buffer.concat(chunks)
      .toString("latin1")
      .replace(/[^ -~]/g, "."),
  );
}
process.exit(0);
