/** A browser that sends requests for one host over a connection that was routed for another, and what 421 does about it. */
import { createHash, X509Certificate } from "node:crypto";
import { rmSync } from "node:fs";
import { createSecureServer, type ServerHttp2Session } from "node:http2";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { attach, guard, handoffInfo } from "../../src/backend/index.js";
import type { Receiver } from "../../src/handoff/receiver.js";
import { type Certificate, certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { Scene } from "../support/scene.js";
import { peer } from "./support/peers.js";

let scene: Scene;
/** Covers both hosts: a browser may use a connection for either. */
let both: Certificate;
const receivers: Receiver[] = [];
const sessions: ServerHttp2Session[] = [];
/** "backend: host path", of what applications have seen. */
let served: string[] = [];
/** "backend: host", of what was answered 421. */
let misdirected: string[] = [];

/** www's page loads a script from mail; the script is the name of the backend that served it. */
async function backend(name: string, guarded: boolean): Promise<void> {
  const server = createSecureServer({ cert: both.cert, key: both.key }, (request, response) => {
    served.push(`${name}: ${request.authority.split(":")[0]} ${request.url}`);
    expect(handoffInfo(request)?.serverName).toBe(`${name}.corp.example`);
    const isPage = request.url === "/";
    response.setHeader("content-type", isPage ? "text/html" : "text/javascript");
    response.end(
      isPage
        ? `<p id="by">nobody</p><script src="https://mail.corp.example:${scene.door.port}/script"></script>`
        : `document.getElementById("by").textContent = "served by ${name}"`,
    );
  });
  server.on("session", (session) => sessions.push(session));
  if (guarded) guard(server, { onMisdirected: (host) => misdirected.push(`${name}: ${host}`) });
  receivers.push(await attach(server, { path: scene.at(name) }));
}

async function visit(): Promise<string> {
  const profile = join(scene.folder, "profile");
  const key = new X509Certificate(both.cert).publicKey.export({ type: "spki", format: "der" });
  const browser = new Child(peer("chromium"), [
    ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"],
    ...["--disable-background-networking", "--disable-component-update", `--user-data-dir=${profile}`],
    // As if an authority that it knows had signed it: over connections with errors it sends nothing for other hosts.
    `--ignore-certificate-errors-spki-list=${createHash("sha256").update(key).digest("base64")}`,
    ...["--host-resolver-rules=MAP * 127.0.0.1", "--dump-dom", `https://www.corp.example:${scene.door.port}/`],
  ]);
  expect(await browser.ended).toEqual({ status: 0, signal: null });
  rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
  return /<p id="by">([^<]*)/.exec(browser.lines.join("\n"))?.[1] ?? "";
}

async function stopBackends(): Promise<void> {
  const ends = receivers.splice(0).map((receiver) => receiver.close({ timeout: 0 }));
  for (const session of sessions.splice(0)) if (!session.destroyed) session.destroy();
  await Promise.all(ends);
}

beforeAll(async () => {
  scene = new Scene();
  both = await certificate("www.corp.example", "mail.corp.example");
});

afterAll(async () => {
  await stopBackends();
  await scene.end();
});

describe("Chromium, with a certificate that covers two hosts of one address", () => {
  it("without a guard: a request for mail is answered by www", async () => {
    await backend("www", false);
    await backend("mail", false);
    await scene.startDoor(
      `backends:
  www: { handoff: "${scene.at("www")}" }
  mail: { handoff: "${scene.at("mail")}" }
routes: { www.corp.example: www, mail.corp.example: mail }
`,
      { channels: 2 },
    );
    expect(await visit()).toBe("served by www");
    expect(served).toContain("www: mail.corp.example /script");
  });

  it("with it: the browser gets 421, opens a connection for mail, and nobody notices", async () => {
    await stopBackends();
    served = [];
    misdirected = [];
    await backend("www", true);
    await backend("mail", true);
    expect(await visit()).toBe("served by mail");
    expect(misdirected).toEqual(["www: mail.corp.example"]);
    expect(served).toContain("mail: mail.corp.example /script");
    expect(served).not.toContain("www: mail.corp.example /script");
  });
});
