// Captures ClientHellos of the clients installed here into vectors/*.hex.
//
//     node test/tls/capture.mjs            all of them
//     node test/tls/capture.mjs NAME…      only these
//
// A TCP server takes each client's first flight and answers with the alert unrecognized_name.

import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const clients = fileURLToPath(new URL("clients/", import.meta.url));
const vectors = fileURLToPath(new URL("vectors/", import.meta.url));

/** The first flight is over when nothing more came for so long. Milliseconds. */
const QUIET = 300;
const TIMEOUT = 60_000;

const openssl = (...options) => ({
  client: "openssl s_client",
  version: ["openssl", "version"],
  command: ["openssl", "s_client", "-connect", "127.0.0.1:PORT", ...options],
});
const curl = (...options) => ({
  client: "curl",
  version: ["curl", "--version"],
  command: ["curl", "-k", "--resolve", "www.example.com:PORT:127.0.0.1", ...options, "https://www.example.com:PORT/"],
});
const go = (...args) => ({
  client: "Go crypto/tls",
  version: ["go", "run", "client.go"],
  command: ["go", "run", "client.go", "127.0.0.1:PORT", ...args],
});
const java = (...args) => ({
  client: "Java javax.net.ssl",
  version: ["java", "Client.java"],
  command: ["java", "Client.java", "PORT", ...args],
});
const python = (statement) => ({
  client: "Python ssl",
  version: ["python3", "-c", "import ssl, sys; print('Python', sys.version.split()[0], 'with', ssl.OPENSSL_VERSION)"],
  command: ["python3", "-c", `import socket, ssl; s = socket.create_connection(('127.0.0.1', PORT)); ${statement}`],
});
const node = (options) => ({
  client: "Node tls",
  version: ["node", "-p", "'Node ' + process.version + ' with OpenSSL ' + process.versions.openssl"],
  command: ["node", "-e", `require("tls").connect({ port: PORT, ${options} }).on("error", () => {})`],
});
const rustls = (...args) => ({
  client: "rustls",
  version: [
    "cargo",
    "tree",
    "--quiet",
    "--prefix",
    "none",
    "--manifest-path",
    "rustls/Cargo.toml",
    "--package",
    "rustls",
  ],
  command: ["cargo", "run", "--quiet", "--manifest-path", "rustls/Cargo.toml", "--", "127.0.0.1:PORT", ...args],
});
const chromium = (url) => ({
  client: "Chromium",
  version: ["chromium", "--version"],
  command: [
    ...["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
    ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
    ...["--user-data-dir=DIRECTORY", "--host-resolver-rules=MAP * 127.0.0.1:PORT", url],
  ],
});
const gnutls = (...options) => ({
  client: "gnutls-cli",
  version: ["gnutls-cli", "--version"],
  command: ["gnutls-cli", "--insecure", "--port", "PORT", ...options, "127.0.0.1"],
});

const captures = {
  "openssl-tls12": openssl("-servername", "www.example.com", "-tls1_2"),
  "openssl-tls13": openssl("-servername", "www.example.com", "-tls1_3"),
  "openssl-tls10": openssl("-servername", "www.example.com", "-tls1", "-cipher", "DEFAULT@SECLEVEL=0"),
  "openssl-alpn": openssl("-servername", "www.example.com", "-alpn", "h2,http/1.1"),
  "openssl-no-name": openssl("-noservername"),
  "openssl-upper-case": openssl("-servername", "WWW.Example.COM"),
  "openssl-trailing-dot": openssl("-servername", "www.example.com."),
  "openssl-underscore": openssl("-servername", "_dmarc.mail_1.example.com"),
  "openssl-ipv4": openssl("-servername", "192.0.2.1"),
  "openssl-ipv6": openssl("-servername", "2001:db8::1"),
  "openssl-two-records": openssl(
    ...["-servername", "www.example.com", "-max_send_frag", "512", "-alpn"],
    Array.from({ length: 40 }, (_, i) => `protocol-${i}`).join(","),
  ),
  "curl-h2": curl("--http2"),
  "curl-tls12": curl("--http1.1", "--tls-max", "1.2"),
  "gnutls-default": gnutls("--sni-hostname", "www.example.com"),
  "gnutls-alpn": gnutls("--sni-hostname", "www.example.com", "--alpn", "h2", "--alpn", "http/1.1"),
  "gnutls-no-extensions": gnutls("--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.0:%NO_EXTENSIONS:%COMPAT"),
  "python-default": python("ssl._create_unverified_context().wrap_socket(s, server_hostname='www.example.com')"),
  "python-address": python("ssl._create_unverified_context().wrap_socket(s, server_hostname='127.0.0.1')"),
  "go-default": go("www.example.com"),
  "go-alpn": go("www.example.com", "h2,http/1.1"),
  "go-address": go("127.0.0.1"),
  "node-default": node('servername: "www.example.com"'),
  "node-alpn": node('servername: "www.example.com", ALPNProtocols: ["h2", "http/1.1"]'),
  "java-default": java("www.example.com"),
  "java-alpn": java("www.example.com", "h2,http/1.1"),
  "rustls-default": rustls("www.example.com", "h2", "http/1.1"),
  "rustls-address": rustls("127.0.0.1"),
  chromium: chromium("https://www.example.com/"),
  "chromium-address": chromium("https://192.0.2.1/"),
};

const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(captures);
for (const name of names) {
  if (!Object.hasOwn(captures, name)) throw new Error(`no capture is called ${name}: ${Object.keys(captures)}`);
  try {
    await capture(name, captures[name]);
  } catch (error) {
    console.error(`${name}: ${error.message}`);
    process.exitCode = 1;
  }
}

async function capture(name, { client, version, command }) {
  const { stdout } = await promisify(execFile)(version[0], version.slice(1), { cwd: clients });
  const bytes = await firstFlight(command);
  const header = [
    `# client: ${client}`,
    `# version: ${stdout
      .split("\n")[0]
      .replace(/ \(Library.*/, "")
      .trim()}`,
    `# command: ${command.map(quote).join(" ")}`,
    `# date: ${new Date().toISOString().slice(0, 10)}`,
  ];
  await writeFile(join(vectors, `${name}.hex`), [...header, ...hexLines(bytes), ""].join("\n"));
  console.log(`${name}: ${bytes.length} bytes`);
}

/** The bytes that the first connection brings. */
async function firstFlight(command) {
  const directory = await mkdtemp(join(tmpdir(), "capture-"));
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const port = String(server.address().port);
  const args = command.map((arg) => arg.replaceAll("PORT", port).replaceAll("DIRECTORY", directory));
  const child = spawn(args[0], args.slice(1), { cwd: clients, stdio: "ignore", detached: true });
  try {
    return await new Promise((resolve, reject) => {
      child.on("error", reject);
      setTimeout(reject, TIMEOUT, new Error(`no hello within ${TIMEOUT} ms`)).unref();
      server.on("connection", (socket) => {
        const chunks = [];
        let quiet;
        socket.on("error", () => {});
        socket.on("data", (chunk) => {
          chunks.push(chunk);
          clearTimeout(quiet);
          quiet = setTimeout(() => {
            socket.end(Buffer.of(21, 3, 3, 0, 2, 2, 112));
            resolve(Buffer.concat(chunks));
          }, QUIET);
        });
      });
    });
  } finally {
    server.close();
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // It has ended by itself.
    }
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

function quote(arg) {
  return /^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg}'`;
}

function hexLines(bytes) {
  return bytes.toString("hex").match(/.{1,64}/g) ?? [];
}
