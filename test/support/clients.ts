/** Real client programs: each makes one GET through the door, checks the certificate by itself, and tells what it saw. */
import { execFile } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Certificate } from "./certificates.js";
import { Child } from "./child.js";
import { type Answer, get } from "./https-client.js";
import { program } from "./programs.js";

export interface Target {
  readonly port: number;
  /** The server name to ask for. */
  readonly name: string;
  /** File with the only certificate that is trusted. */
  readonly ca: string;
  readonly path: string;
}

/** What a client saw. Fails (rejects) if the client does not take the certificate for the name's. */
export interface Seen {
  /** Address and port of its own end. */
  readonly client: string;
  /** SHA-256 of the certificate: AB:CD:… */
  readonly fingerprint: string;
  /** "http/1.1" or "h2". */
  readonly http: string;
  /** "TLSv1.2" or "TLSv1.3", where the client tells. */
  readonly tls?: string;
  /** What ALPN agreed on; "" for nothing. */
  readonly alpn?: string;
  readonly body: Answer["body"];
}

const execute = promisify(execFile);
const here = (path: string) => fileURLToPath(new URL(`../clients/${path}`, import.meta.url));

// --- curl --------------------------------------------------------------------------------------------------------

/** `%{certs}` is of curl 7.88. */
const told = ["%{local_ip}:%{local_port}", "%{http_version}", "%{certs}"].join("\n");

export async function curl(target: Target, ...options: string[]): Promise<Seen> {
  const { port, name, ca, path } = target;
  const { stdout } = await execute(program("curl"), [
    ...["--silent", "--show-error", "--noproxy", "*", "--cacert", ca, "--resolve", `${name}:${port}:127.0.0.1`],
    ...["--write-out", told, ...options, `https://${name}:${port}${path}`],
  ]);
  const [body, client, version] = stdout.split("\n") as [string, string, string];
  return {
    client,
    fingerprint: fingerprintIn(stdout),
    http: version === "2" ? "h2" : `http/${version}`,
    body: JSON.parse(body),
  };
}

// --- openssl s_client and gnutls-cli: pipes to a TLS connection -----------------------------------------------------

export async function openssl(target: Target, ...options: string[]): Promise<Seen> {
  const { port, name, ca } = target;
  const client = new Child(
    program("openssl"),
    [
      ...["s_client", "-connect", `127.0.0.1:${port}`, "-servername", name, "-CAfile", ca],
      ...["-verify_hostname", name, "-verify_return_error", ...options],
    ],
    { stdio: ["pipe", "pipe", "pipe"] },
  );
  // Said in either case; what else is looked at has been said before.
  const seen = await ask(client, target, /^(?:ALPN protocol: |No ALPN negotiated)/, /^ALPN protocol: (\S+)/);
  const tls = client.lines.map((line) => /^New, (TLSv1\.[23]), /.exec(line)?.[1]).find((version) => version);
  return { ...seen, ...(tls !== undefined && { tls }) };
}

export async function gnutls(target: Target, ...options: string[]): Promise<Seen> {
  const { port, name, ca } = target;
  const client = new Child(
    program("gnutls-cli"),
    [
      ...["--port", String(port), "--sni-hostname", name, "--verify-hostname", name, "--x509cafile", ca],
      ...["--print-cert", ...options, "127.0.0.1"],
    ],
    { stdio: ["pipe", "pipe", "pipe"] },
  );
  const seen = await ask(client, target, /^- Simple Client Mode/, /^- Application protocol: (\S+)/);
  const tls = client.lines.map((line) => /^- Description: \((TLS1\.[23])/.exec(line)?.[1]).find((version) => version);
  return { ...seen, ...(tls !== undefined && { tls: tls.replace("TLS", "TLSv") }) };
}

/** Waits for the handshake, asks in the language that ALPN agreed on, and looks at the connection before it ends. */
async function ask(client: Child, target: Target, connected: RegExp, agreed: RegExp): Promise<Seen> {
  const stdin = client.process.stdin!;
  stdin.on("error", () => {}); // it ended early: its lines say why
  try {
    await client.line("the handshake's end", (line) => connected.test(line));
    const alpn = client.lines.map((line) => agreed.exec(line)?.[1]).find((protocol) => protocol) ?? "";
    stdin.write(alpn === "h2" ? http2Request(target) : http1Request(target));
    const body = await client.line("the answer", (line) => /\{"name".*\}/.exec(line)?.[0]);
    return {
      client: ownAddress(client.pid, target.port),
      fingerprint: fingerprintIn(client.lines.join("\n")),
      http: alpn === "h2" ? "h2" : "http/1.1",
      alpn,
      body: JSON.parse(body),
    };
  } finally {
    await client.end("SIGTERM");
  }
}

function http1Request({ name, path }: Target): Buffer {
  return Buffer.from(`GET ${path} HTTP/1.1\r\nHost: ${name}\r\n\r\n`);
}

/** A client's preface, SETTINGS, and one GET as literals that are not compressed (RFC 9113 §3.4, RFC 7541 §6.2.2). */
function http2Request({ name, path }: Target): Buffer {
  const literal = (index: number, value: string) => Buffer.from([index, value.length, ...Buffer.from(value)]);
  const fields = Buffer.concat([Buffer.from([0x82, 0x87]), literal(4, path), literal(1, name)]);
  return Buffer.concat([
    Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
    Buffer.from([0, 0, fields.length, 1, 0x05, 0, 0, 0, 1]),
    fields,
  ]);
}

/** The local end of a process's connection to a port of 127.0.0.1: proc(5), /proc/PID/net/tcp. */
function ownAddress(pid: number, port: number): string {
  const inodes = new Set(
    readdirSync(`/proc/${pid}/fd`).map((fd) => /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]),
  );
  for (const line of readFileSync(`/proc/${pid}/net/tcp`, "utf8").split("\n").slice(1)) {
    const [, local, remote, , , , , , , inode] = line.trim().split(/\s+/);
    if (!inodes.has(inode) || Number.parseInt(remote!.split(":")[1]!, 16) !== port) continue;
    const [address, ownPort] = local!.split(":") as [string, string];
    const bytes = Buffer.from(address, "hex").reverse();
    return `${bytes.join(".")}:${Number.parseInt(ownPort, 16)}`;
  }
  throw new Error(`process ${pid} has no connection to port ${port}`);
}

// --- programs of our own over languages' libraries ------------------------------------------------------------------

export async function python(target: Target, version: "1.2" | "1.3", alpn = ""): Promise<Seen> {
  const { port, name, ca, path } = target;
  const { stdout } = await execute(program("python3"), [here("client.py"), `${port}`, name, ca, path, version, alpn]);
  return normalised(JSON.parse(stdout));
}

/** Compiles the Go client; a first compilation of Go's libraries takes half a minute, later ones are cached. */
export async function compileGo(folder: string): Promise<string> {
  const binary = join(folder, "go-client");
  // A file without a module: Go's defaults are then those of its own version (a go.mod chooses others, see GODEBUG).
  await execute(program("go"), ["build", "-o", binary, here("client.go")], {
    cwd: folder,
    env: { ...process.env, GO111MODULE: "on", GOTOOLCHAIN: "local", CGO_ENABLED: "0" },
  });
  return binary;
}

export interface SeenByGo extends Seen {
  readonly go: string;
  readonly helloBytes: number;
}

export async function go(binary: string, target: Target, through: "tls" | "http"): Promise<SeenByGo> {
  const { port, name, ca, path } = target;
  const { stdout } = await execute(binary, [through, `127.0.0.1:${port}`, name, ca, path]);
  return normalised(JSON.parse(stdout));
}

function normalised<T extends Seen>(seen: T): T {
  const fingerprint = seen.fingerprint.toUpperCase().replace(/..(?=.)/g, "$&:");
  const http = seen.http === "HTTP/2.0" ? "h2" : seen.http.toLowerCase();
  return { ...seen, fingerprint, http };
}

// --- Node itself ----------------------------------------------------------------------------------------------------

export async function nodeHttps(target: Target): Promise<Seen> {
  const ca = readFileSync(target.ca, "utf8");
  const trusted: Certificate = { name: target.name, cert: ca, key: "", fingerprint: fingerprintIn(ca) };
  const { client, fingerprint, body } = await get(target.port, trusted, target.path);
  return { client, fingerprint, http: "http/1.1", body };
}

export function nodeHttp2({ port, name, ca, path }: Target): Promise<Seen> {
  return new Promise((resolve, reject) => {
    const session = connectHttp2(`https://${name}:${port}`, {
      host: "127.0.0.1",
      port,
      servername: name,
      ca: readFileSync(ca),
    });
    session.on("error", reject);
    const stream = session.request({ ":path": path });
    let text = "";
    stream.setEncoding("utf8");
    stream.on("data", (data) => {
      text += data;
    });
    stream.on("error", reject);
    stream.on("end", () => {
      const socket = session.socket as TLSSocket;
      const client = `${socket.localAddress}:${socket.localPort}`;
      const { fingerprint256: fingerprint } = socket.getPeerCertificate();
      const alpn = session.alpnProtocol ?? "";
      session.close();
      resolve({ client, fingerprint, http: "h2", alpn, body: JSON.parse(text) });
    });
    stream.end();
  });
}

// --------------------------------------------------------------------------------------------------------------------

function fingerprintIn(text: string): string {
  const pem = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(text);
  if (pem === null) throw new Error(`no certificate in: ${text}`);
  return new X509Certificate(pem[0]).fingerprint256;
}
