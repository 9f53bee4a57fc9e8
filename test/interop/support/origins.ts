/** Other projects' TLS servers as a relay's targets: each wants a PROXY header, and logs whom it tells of. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import type { Certificate } from "../../support/certificates.js";
import { Child } from "../../support/child.js";
import { until } from "../../support/wait.js";
import { freePort } from "./free-port.js";
import { peer } from "./peers.js";

/** What an origin logged of one request. */
export interface Logged {
  /** "192.0.2.1:1234": the client, as the PROXY header told it. */
  readonly client: string;
  /** The address that the connection really came from, where the origin tells. */
  readonly peer?: string;
  /** Of the request line: "/path". */
  readonly path: string;
  /** The TLVs PP2_TYPE_AUTHORITY and PP2_TYPE_UNIQUE_ID (in hex), where the origin tells: "-" without one. */
  readonly authority?: string;
  readonly uniqueId?: string;
}

export interface Origin {
  readonly port: number;
  readonly version: string;
  /** All requests so far, in order. */
  requests(): Logged[];
  stop(): Promise<void>;
}

interface Files {
  /** Its own, which exists. */
  readonly folder: string;
  readonly certificate: Certificate;
}

export type StartOrigin = (files: Files) => Promise<Origin>;

// --- nginx: listen … ssl proxy_protocol; the address by set_real_ip_from ---------------------------------------------

export const nginx: StartOrigin = async ({ folder, certificate }) => {
  const port = await freePort();
  const log = join(folder, "access.log");
  const { cert, key } = writePem(folder, certificate);
  const file = join(folder, "nginx.conf");
  writeFileSync(
    file,
    `daemon off;
master_process off;
pid ${folder}/nginx.pid;
error_log stderr;
events {}
http {
  log_format seen escape=json '{"client":"$remote_addr:$remote_port","peer":"$realip_remote_addr","path":"$request_uri"}';
  access_log ${log} seen;
${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `  ${name}_temp_path ${folder}/${name};\n`).join("")}
  server {
    listen 127.0.0.1:${port} ssl http2 proxy_protocol;
    set_real_ip_from 127.0.0.1;
    real_ip_header proxy_protocol;
    ssl_certificate ${cert};
    ssl_certificate_key ${key};
    location / { return 200 "nginx sees $remote_addr:$remote_port\\n"; }
  }
}
`,
  );
  const child = new Child(peer("nginx"), ["-p", folder, "-e", "stderr", "-c", file]);
  await accepts(child, port);
  return {
    port,
    version: said(peer("nginx"), "-v").trim(),
    requests: () => jsonLines(readFileSync(log, "utf8").split("\n")),
    stop: () => stop(child),
  };
};

// --- HAProxy: bind … ssl accept-proxy --------------------------------------------------------------------------------

export const haproxy: StartOrigin = async ({ folder, certificate }) => {
  const port = await freePort();
  mkdirSync(folder, { recursive: true });
  // "crt" is one file with both.
  writeFileSync(join(folder, "both.pem"), `${certificate.cert}\n${certificate.key}\n`);
  const file = join(folder, "haproxy.cfg");
  const format = {
    client: "%ci:%cp",
    peer: "%[fc_src]",
    path: "%[var(txn.path)]",
    authority: "%[fc_pp_authority]",
    uniqueId: "%[fc_pp_unique_id,hex]",
  };
  writeFileSync(
    file,
    `global
  log stdout format raw daemon
  maxconn 1000
defaults
  mode http
  timeout client 1m
  timeout http-request 1m
frontend origin
  bind 127.0.0.1:${port} ssl crt ${folder}/both.pem alpn h2,http/1.1 accept-proxy
  log global
  log-format '${JSON.stringify(format)}'
  http-request set-var(txn.path) path
  http-request return status 200 content-type text/plain lf-string "HAProxy sees %ci:%cp\\n"
`,
  );
  const child = new Child(peer("haproxy"), ["-db", "-f", file]);
  await accepts(child, port);
  return {
    port,
    version: said(peer("haproxy"), "-v").split("\n")[0]!,
    requests: () => jsonLines(child.lines),
    stop: () => stop(child),
  };
};

// --- Caddy: the listener wrapper proxy_protocol ----------------------------------------------------------------------

export const caddy: StartOrigin = async ({ folder, certificate }) => {
  const port = await freePort();
  const { cert, key } = writePem(folder, certificate);
  const file = join(folder, "caddy.json");
  const server = {
    listen: [`127.0.0.1:${port}`],
    listener_wrappers: [{ wrapper: "proxy_protocol", allow: ["127.0.0.1/32"] }, { wrapper: "tls" }],
    protocols: ["h1", "h2"],
    automatic_https: { disable: true },
    tls_connection_policies: [{}],
    logs: {},
    routes: [{ handle: [{ handler: "static_response", body: "Caddy sees {http.request.remote}\n" }] }],
  };
  const configuration = {
    admin: { disabled: true, config: { persist: false } },
    apps: {
      http: { servers: { origin: server } },
      tls: { certificates: { load_files: [{ certificate: cert, key }] } },
    },
  };
  writeFileSync(file, JSON.stringify(configuration, null, 2));
  const child = new Child(peer("caddy"), ["run", "--config", file], {
    env: { ...process.env, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
  });
  await accepts(child, port);
  return {
    port,
    version: `Caddy ${/caddy\/v2\s+(v\S+)/.exec(said(peer("caddy"), "build-info"))?.[1]}`,
    requests: () =>
      jsonLines<{ logger?: string; request: { remote_ip: string; remote_port: string; uri: string } }>(
        child.stderr.split("\n"),
      )
        .filter(({ logger }) => logger?.startsWith("http.log.access"))
        .map(({ request }) => ({ client: `${request.remote_ip}:${request.remote_port}`, path: request.uri })),
    stop: () => stop(child),
  };
};

// ---------------------------------------------------------------------------------------------------------------------

function writePem(folder: string, { cert, key }: Certificate): { cert: string; key: string } {
  mkdirSync(folder, { recursive: true });
  const files = { cert: join(folder, "cert.pem"), key: join(folder, "key.pem") };
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key);
  return files;
}

function said(program: string, option: string): string {
  const script = 'exec "$0" "$1" 2>&1';
  return execFileSync("/bin/sh", ["-c", script, program, option], { encoding: "utf8" });
}

function jsonLines<T = Logged>(lines: readonly string[]): T[] {
  return lines.filter((line) => line.startsWith("{") && line.endsWith("}")).map((line) => JSON.parse(line) as T);
}

async function accepts(child: Child, port: number): Promise<void> {
  await until(`port ${port} to be served`, async () => {
    if (!child.running) throw new Error(`ended before it served: ${child.lines.join("\n")}\n${child.stderr}`);
    return new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1");
      socket.on("connect", () => resolve(true));
      socket.on("error", () => resolve(false));
      socket.on("connect", () => socket.destroy());
    });
  });
}

/** SIGTERM ends each of them at once; what it answers then is its own affair. */
async function stop(child: Child): Promise<void> {
  await child.end("SIGTERM");
}
