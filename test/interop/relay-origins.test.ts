/**
 * The relay before other projects' TLS servers, with PROXY protocol v1 and v2: each logs the client's own address, not
 * the relay's. The handshake is the server's and the client's own.
 */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Certificate, certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { program } from "../support/programs.js";
import { until } from "../support/wait.js";
import { caddy, haproxy, type Logged, nginx, type Origin } from "./support/origins.js";
import { RelayedDoor } from "./support/relayed-door.js";

const starts = { nginx, haproxy, caddy } as const;
type Kind = keyof typeof starts;
const kinds = Object.keys(starts) as Kind[];
const versions = ["v1", "v2"] as const;

/** Not the relay's address, and not what a client gets by itself. */
const CLIENT = "127.0.0.77";

const execute = promisify(execFile);
let folder: string;
let ca: string;
const origins = {} as Record<Kind, Origin>;
let front: RelayedDoor;

const nameOf = (kind: Kind, version: string) => `${kind}-${version}.test`;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-origins-"));
  ca = join(folder, "ca.pem");
  const made: Certificate = await certificate(
    ...kinds.flatMap((kind) => versions.map((version) => nameOf(kind, version))),
  );
  writeFileSync(ca, made.cert);
  for (const kind of kinds) {
    origins[kind] = await starts[kind]({ folder: join(folder, kind), certificate: made });
  }
  const pairs = kinds.flatMap((kind) => versions.map((version) => ({ kind, version })));
  front = await RelayedDoor.start(
    folder,
    `
backends:
${pairs.map(({ kind, version }) => `  ${kind}-${version}: { relay: "127.0.0.1:${origins[kind].port}", proxyProtocol: ${version} }`).join("\n")}
routes:
${pairs.map(({ kind, version }) => `  ${nameOf(kind, version)}: ${kind}-${version}`).join("\n")}
`,
    pairs.map(({ kind, version }) => `${kind}-${version}`),
  );
});

afterAll(async () => {
  await front?.stop();
  for (const origin of Object.values(origins)) await origin.stop();
  rmSync(folder, { recursive: true });
});

describe.each(kinds)("%s", (kind) => {
  it.each(versions)("logs curl's address, told by PROXY protocol %s", async (version) => {
    const path = `/curl-${version}`;
    const seen = await curl(nameOf(kind, version), path);
    expect(seen).toMatchObject({ address: CLIENT, status: "200" });
    expect(await logged(kind, path)).toMatchObject({ client: `${CLIENT}:${seen.port}` });
    expect(seen.body).toContain(`${CLIENT}`);
    console.log(`${origins[kind].version}, ${version}: ${JSON.stringify(await logged(kind, path))}`);
  });

  it.each(versions)(
    "logs openssl's address, told by PROXY protocol %s, through a handshake of TLS 1.2",
    async (version) => {
      const path = `/openssl-${version}`;
      const answer = await openssl(nameOf(kind, version), path);
      expect(answer).toContain("HTTP/1.1 200 OK");
      const { client } = await logged(kind, path);
      expect(client).toMatch(/^127\.0\.0\.77:\d+$/);
      expect(answer).toContain("Protocol  : TLSv1.2");
    },
  );
});

it("gives nginx the connection itself from the relay's address", async () => {
  await curl(nameOf("nginx", "v2"), "/peer");
  expect(await logged("nginx", "/peer")).toMatchObject({ peer: "127.0.0.1" });
});

it("tells HAProxy the name and a unique id by the TLVs of PROXY protocol v2, another id for each connection", async () => {
  const name = nameOf("haproxy", "v2");
  await curl(name, "/first");
  await curl(name, "/second");
  const first = await logged("haproxy", "/first");
  const second = await logged("haproxy", "/second");
  expect([first.authority, second.authority]).toEqual([name, name]);
  expect(first.uniqueId).toMatch(/^([0-9A-F]{2})+$/);
  expect(second.uniqueId).toMatch(/^([0-9A-F]{2})+$/);
  expect(second.uniqueId).not.toBe(first.uniqueId);
});

it("tells HAProxy nothing of the kind by PROXY protocol v1", async () => {
  await curl(nameOf("haproxy", "v1"), "/plain");
  expect(await logged("haproxy", "/plain")).toMatchObject({ authority: "-", uniqueId: "-" });
});

/** The origin's log line of a request. */
function logged(kind: Kind, path: string): Promise<Logged> {
  return until(`${kind}'s log line of ${path}`, () => origins[kind].requests().find((line) => line.path === path));
}

async function curl(
  name: string,
  path: string,
): Promise<{ address: string; port: string; status: string; body: string }> {
  const { stdout } = await execute(program("curl"), [
    ...["--silent", "--show-error", "--noproxy", "*", "--cacert", ca, "--interface", CLIENT],
    ...["--resolve", `${name}:${front.port}:127.0.0.1`, "--write-out", "\n%{local_ip} %{local_port} %{http_code}"],
    `https://${name}:${front.port}${path}`,
  ]);
  const lines = stdout.split("\n");
  const [address, port, status] = lines.pop()!.split(" ") as [string, string, string];
  return { address, port, status, body: lines.join("\n") };
}

/** All that openssl printed: the handshake, and the answer. */
async function openssl(name: string, path: string): Promise<string> {
  const client = new Child(
    program("openssl"),
    [
      ...["s_client", "-connect", `127.0.0.1:${front.port}`, "-bind", CLIENT, "-servername", name, "-CAfile", ca],
      ...["-verify_hostname", name, "-verify_return_error", "-tls1_2", "-ign_eof"],
    ],
    { stdio: ["pipe", "pipe", "pipe"] },
  );
  client.process.stdin!.write(`GET ${path} HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`);
  await client.ended;
  return client.lines.join("\n");
}
