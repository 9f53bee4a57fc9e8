/** A real ACME client gets certificates through the door, from a real ACME server, while the service runs. */
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BackendProcess } from "../support/backend-process.js";
import { certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { get } from "../support/https-client.js";
import { speak } from "../support/raw-client.js";
import { TlsLoad } from "../support/tls-load.js";
import { freePort } from "./support/free-port.js";
import { Pebble } from "./support/pebble.js";
import { peer } from "./support/peers.js";
import { RelayedDoor } from "./support/relayed-door.js";

const NAME = "app.test";
let folder: string;
let relayed: RelayedDoor | undefined;
let pebble: Pebble | undefined;
let service: BackendProcess | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-"));
});

afterEach(async () => {
  await pebble?.end();
  await relayed?.kill();
  await service?.kill();
  pebble = relayed = service = undefined;
  rmSync(folder, { recursive: true });
});

const socket = () => join(folder, "app.sock");
const serve = async (identity: { cert: string; key: string; name?: string }) => {
  await service?.stop();
  const one = { name: NAME, fingerprint: "", ...identity };
  service = await BackendProcess.start({ kind: "https", path: socket(), certificate: one });
};

/** The door with a listener for HTTP and one for TLS, and a Pebble that looks there. `acme` is where lego listens. */
async function open(acme: number): Promise<{ http: number; tls: number }> {
  relayed = await RelayedDoor.start(
    folder,
    `accessLog: all
backends:
  app: { handoff: "${socket()}", hold: 30s }
  lego: { relay: "127.0.0.1:${acme}" }
routes:
  ${NAME}:
    - { backend: lego, alpn: acme-tls/1 }
    - { backend: app }
http: { redirect: https, acmeChallenge: lego }
`,
    ["lego"],
    { listener: 'protocol: http }, { address: "127.0.0.1:0"' },
  );
  const { listeners } = await relayed.door.event("ready");
  const [http, tls] = (listeners as string[]).map((address) => Number(address.slice(address.lastIndexOf(":") + 1)));
  pebble = await Pebble.start(folder, { http: http!, tls: tls! });
  return { http: http!, tls: tls! };
}

/** lego with a server of its own for one kind of challenge: the certificate that it got, and its key. */
async function lego(...challenge: string[]): Promise<{ cert: string; key: string }> {
  const args = ["--server", pebble!.directory, "--email", "operator@example.com", "--accept-tos", "--path", folder];
  const child = new Child(peer("lego"), [...args, "--domains", NAME, ...challenge, "run"], {
    env: { ...process.env, LEGO_CA_CERTIFICATES: pebble!.certificateFile, NO_PROXY: "*" },
  });
  const { status } = await child.ended;
  if (status !== 0) throw new Error(`lego: ${child.lines.join("\n")}${child.stderr}\n${pebble!.said}`);
  const read = (kind: string) => readFileSync(join(folder, "certificates", `${NAME}.${kind}`), "utf8");
  return { cert: read("crt"), key: read("key") };
}

/** The service has the new certificate, which the authority stands behind. */
async function expectServed(issued: { cert: string; key: string }, port: number): Promise<void> {
  await serve(issued);
  const { fingerprint256, subjectAltName } = new X509Certificate(issued.cert);
  expect(subjectAltName).toBe(`DNS:${NAME}`);
  const trusted = { name: NAME, cert: await pebble!.root(), key: "", fingerprint: fingerprint256 };
  const { status, body } = await get(port, trusted);
  expect({ status, serverName: body.serverName }).toEqual({ status: 200, serverName: NAME });
}

const handedOver = (backend: string) =>
  relayed!.door.log.filter((line) => line.event === "access" && line.backend === backend);

describe("lego and Pebble", () => {
  it("http-01: the challenge goes to lego, everything else on port 80 is redirected meanwhile", async () => {
    const acme = await freePort();
    const { http, tls } = await open(acme);
    const asked: string[] = [];
    let isRunning = true;
    const others = (async () => {
      while (isRunning) {
        const { received } = await speak(http, Buffer.from(`GET /x HTTP/1.1\r\nHost: ${NAME}\r\n\r\n`));
        asked.push(/^HTTP\/1\.1 308 .*^Location: (.*?)\r$/ms.exec(received.toString())?.[1] ?? received.toString());
      }
    })();
    const issued = await lego("--http", "--http.port", `127.0.0.1:${acme}`);
    isRunning = false;
    await others;
    expect(new Set(asked)).toEqual(new Set([`https://${NAME}/x`]));
    await expectServed(issued, tls);
    const challenges = handedOver("lego");
    expect(challenges.length).toBeGreaterThan(0);
    for (const line of challenges) {
      expect(line).toMatchObject({ protocol: "http", server_name: NAME, outcome: "handed_over" });
    }
    expect(await relayed!.door.stop()).toMatchObject({ redirected: asked.length, no_route: 0, http_invalid: 0 });
  });

  it("tls-alpn-01: the challenge goes to lego, and no client of the service notices", async () => {
    const acme = await freePort();
    const { tls } = await open(acme);
    const before = await certificate(NAME);
    await serve(before);
    const load = await TlsLoad.start({ port: tls, ca: before.cert, names: [NAME], clients: 8 });
    const issued = await lego("--tls", "--tls.port", `127.0.0.1:${acme}`);
    const { requests, failures } = await load.stop();
    expect(failures).toEqual({});
    expect(requests).toBeGreaterThan(0);
    await expectServed(issued, tls);
    const challenges = handedOver("lego");
    expect(challenges.length).toBeGreaterThan(0);
    for (const line of challenges) {
      expect(line).toMatchObject({ server_name: NAME, alpn: "acme-tls/1", outcome: "handed_over" });
    }
    console.log(
      `${challenges.length} connections of Pebble went to lego, ${requests} requests to the service meanwhile`,
    );
    expect(await relayed!.door.stop()).toMatchObject({ no_route: 0, defect: 0 });
  });
});
