/** Real clients through the door to Node's https and http2 servers, over sockets that were handed over. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BackendProcess } from "../support/backend-process.js";
import { type Certificate, certificate } from "../support/certificates.js";
import {
  compileGo,
  curl,
  gnutls,
  go,
  nodeHttp2,
  nodeHttps,
  openssl,
  python,
  type Seen,
  type SeenByGo,
  type Target,
} from "../support/clients.js";
import { openSockets } from "../support/descriptors.js";
import { DoorProcess } from "../support/door-process.js";
import { program } from "../support/programs.js";
import { until } from "../support/wait.js";

interface Site {
  readonly certificate: Certificate;
  readonly ca: string;
  readonly backend: BackendProcess;
}

const kinds = ["https", "http2"] as const;
type Kind = (typeof kinds)[number];

let folder: string;
let door: DoorProcess;
const sites = {} as Record<Kind, Site>;
let idle: { door: number; https: number; http2: number };
let goClient: Promise<string>;
const connectionIds: string[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-clients-"));
  goClient = compileGo(folder);
  goClient.catch(() => {}); // the tests that need it say so
  for (const kind of kinds) {
    const made = await certificate(`${kind}.test`);
    const ca = join(folder, `${kind}.pem`);
    writeFileSync(ca, made.cert);
    const backend = await BackendProcess.start({ kind, path: `${folder}/${kind}.sock`, certificate: made });
    sites[kind] = { certificate: made, ca, backend };
  }
  door = await DoorProcess.start(
    folder,
    `
backends:
  https: { handoff: "${folder}/https.sock", acknowledgeTimeout: 60s }
  http2: { handoff: "${folder}/http2.sock", acknowledgeTimeout: 60s }
routes:
  https.test: https
  http2.test: http2
`,
    { workers: 2 },
  );
  await until("all channels", () => door.log.filter((line) => line.event === "channel.ready").length === 4);
  idle = descriptors();
  await goClient.catch(() => {}); // on a new machine it takes minutes: not of the time of the first test that needs it
}, 900_000);

afterAll(async () => {
  await until("all descriptors to be as before", () => JSON.stringify(descriptors()) === JSON.stringify(idle));
  expect(await door.stop()).toMatchObject({ defect: 0, violations: 0, lost_after_read: 0, hello_invalid: 0, held: 0 });
  for (const kind of kinds) await sites[kind].backend.kill();
  await goClient.catch(() => {});
  rmSync(folder, { recursive: true });
});

function descriptors(): typeof idle {
  const { https, http2 } = sites;
  return { door: openSockets(door.pid), https: openSockets(https.backend.pid), http2: openSockets(http2.backend.pid) };
}

interface Client<T extends Seen = Seen> {
  readonly title: string;
  get(target: Target): Promise<T>;
  /** The first protocol that it offers, if it offers any. */
  readonly alpn?: string;
  /** What it speaks with an http2 server; with an https server everyone speaks HTTP/1.1. */
  readonly http2: "h2" | "http/1.1";
  readonly tls?: string;
  /** What it says of a certificate that it does not trust. */
  readonly distrust: RegExp;
  also?(seen: T): void;
}

const h1 = { http2: "http/1.1" } as const;
const h2 = { http2: "h2" } as const;
const ofCurl = { distrust: /self[- ]signed certificate/ };
const ofOpenssl = { distrust: /verify error:num=18:self[- ]signed certificate/ };
const ofGnutls = { distrust: /issuer is unknown/ };
const ofPython = { distrust: /CERTIFICATE_VERIFY_FAILED/ };
const ofGo = { distrust: /x509: certificate signed by unknown authority|certificate is not trusted/ };
const ofNode = { distrust: /self-signed certificate/ };

/** Since Go 1.24 the default hello has a post-quantum key share, and is larger than a segment of Ethernet. */
function isPostQuantum({ go: version, helloBytes }: SeenByGo): void {
  const [, minor] = /^go1\.(\d+)/.exec(version)!;
  if (Number(minor) >= 24) expect(helloBytes).toBeGreaterThan(1460);
}

const clients: (Client | Client<SeenByGo>)[] = [
  { title: "curl, HTTP/1.1", get: (to) => curl(to, "--http1.1"), alpn: "http/1.1", ...h1, ...ofCurl },
  { title: "curl, HTTP/2", get: (to) => curl(to, "--http2"), alpn: "h2", ...h2, ...ofCurl },
  {
    title: "curl, TLS 1.2",
    get: (to) => curl(to, "--http2", "--tls-max", "1.2"),
    alpn: "h2",
    ...h2,
    ...ofCurl,
  },
  { title: "openssl s_client, TLS 1.2", get: (to) => openssl(to, "-tls1_2"), tls: "TLSv1.2", ...h1, ...ofOpenssl },
  { title: "openssl s_client, TLS 1.3", get: (to) => openssl(to, "-tls1_3"), tls: "TLSv1.3", ...h1, ...ofOpenssl },
  {
    title: "openssl s_client, ALPN http/1.1",
    get: (to) => openssl(to, "-alpn", "http/1.1"),
    alpn: "http/1.1",
    ...h1,
    ...ofOpenssl,
  },
  {
    title: "openssl s_client, TLS 1.2, ALPN h2",
    get: (to) => openssl(to, "-tls1_2", "-alpn", "h2,http/1.1"),
    alpn: "h2",
    tls: "TLSv1.2",
    ...h2,
    ...ofOpenssl,
  },
  {
    title: "openssl s_client, TLS 1.3, ALPN h2",
    get: (to) => openssl(to, "-tls1_3", "-alpn", "h2,http/1.1"),
    alpn: "h2",
    tls: "TLSv1.3",
    ...h2,
    ...ofOpenssl,
  },
  { title: "gnutls-cli", get: (to) => gnutls(to), tls: "TLSv1.3", ...h1, ...ofGnutls },
  {
    title: "gnutls-cli, TLS 1.2, ALPN http/1.1",
    get: (to) => gnutls(to, "--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.2", "--alpn", "http/1.1"),
    alpn: "http/1.1",
    tls: "TLSv1.2",
    ...h1,
    ...ofGnutls,
  },
  { title: "Python ssl, TLS 1.2", get: (to) => python(to, "1.2"), tls: "TLSv1.2", ...h1, ...ofPython },
  {
    title: "Python ssl, TLS 1.3, ALPN http/1.1",
    get: (to) => python(to, "1.3", "http/1.1"),
    alpn: "http/1.1",
    tls: "TLSv1.3",
    ...h1,
    ...ofPython,
  },
  {
    title: "Go crypto/tls, its hello in two segments",
    get: async (to) => go(await goClient, to, "tls"),
    tls: "TLSv1.3",
    ...h1,
    ...ofGo,
    also: isPostQuantum,
  },
  {
    title: "Go net/http, its hello in two segments",
    get: async (to) => go(await goClient, to, "http"),
    alpn: "h2",
    tls: "TLSv1.3",
    ...h2,
    ...ofGo,
    also: isPostQuantum,
  },
  { title: "Node https", get: nodeHttps, ...h1, ...ofNode },
];

function target(kind: Kind, trusted: Kind = kind): Target {
  return { port: door.port, name: `${kind}.test`, ca: sites[trusted].ca, path: `/${kind}` };
}

function expectRight(seen: Seen, kind: Kind, alpn: string | undefined): void {
  const { certificate: own, backend } = sites[kind];
  expect(seen.fingerprint).toBe(own.fingerprint);
  expect(connectionIds).not.toContain(seen.body.connectionId);
  connectionIds.push(seen.body.connectionId);
  expect(seen.body).toEqual({
    name: own.name,
    pid: backend.pid,
    url: `/${kind}`,
    client: seen.client,
    serverName: own.name,
    ...(alpn !== undefined && { alpn }),
    connectionId: expect.stringMatching(/^\d+$/),
  });
}

describe.each(clients)("$title", (client) => {
  it.each(kinds)("gets its answer from the %s server that it asked for", async (kind) => {
    const seen = await client.get(target(kind));
    expectRight(seen, kind, client.alpn);
    expect(seen.http).toBe(kind === "http2" ? client.http2 : "http/1.1");
    if (client.tls !== undefined) expect(seen.tls).toBe(client.tls);
    if (seen.alpn !== undefined) expect(seen.alpn).toBe(client.alpn === undefined ? "" : seen.http);
    client.also?.(seen as SeenByGo);
  });

  it("does not trust a server by another's certificate", async () => {
    await expect(client.get(target("https", "http2"))).rejects.toThrow(client.distrust);
  });
});

describe("Node http2", () => {
  it("gets its answer from the http2 server", async () => {
    const seen = await nodeHttp2(target("http2"));
    expectRight(seen, "http2", "h2");
    expect(seen.alpn).toBe("h2");
  });

  it("does not trust a server by another's certificate", async () => {
    await expect(nodeHttp2(target("http2", "https"))).rejects.toThrow(/self-signed certificate/);
  });
});

describe("h2load", () => {
  const REQUESTS = 400;
  const CONNECTIONS = 40;

  it.each([
    ["http2", "h2", []],
    ["http2", "http/1.1", ["--h1"]],
    ["https", "http/1.1", ["--h1"]],
  ] as const)("makes 400 requests to the %s server over 40 connections in %s", async (kind, protocol, options) => {
    const { backend } = sites[kind];
    const before = backend.served.length;
    const { stdout } = await promisify(execFile)(program("h2load"), [
      ...["-n", `${REQUESTS}`, "-c", `${CONNECTIONS}`, "-m", "1", `--connect-to=127.0.0.1:${door.port}`, ...options],
      `https://${kind}.test/load`,
    ]);
    expect(stdout).toContain(`Application protocol: ${protocol}`);
    expect(stdout).toMatch(new RegExp(`requests: ${REQUESTS} total, .* ${REQUESTS} succeeded, 0 failed, 0 errored`));
    await until("the server's lines", () => backend.served.length >= before + REQUESTS);
    expect(backend.served.slice(before)).toEqual(Array.from({ length: REQUESTS }, () => "/load"));
  });
});
