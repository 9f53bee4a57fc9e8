/** What a browser makes of refusals, and of routes by what it offers: Debian's Chromium without a window. */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { Scene } from "../support/scene.js";
import { peer } from "./support/peers.js";

/** https://chromium.googlesource.com/chromium/src/+/HEAD/net/base/net_error_list.h */
const NET_ERRORS = {
  ERR_CONNECTION_CLOSED: -100,
  ERR_CONNECTION_RESET: -101,
  ERR_SSL_PROTOCOL_ERROR: -107,
  ERR_SSL_UNRECOGNIZED_NAME_ALERT: -159,
} as const;

let scene: Scene;

interface Visit {
  /** The page as the browser has it; "" if there is none. */
  readonly page: string;
  /** Errors that it printed, as numbers. */
  readonly errors: Set<number>;
  /** Bodies of the alerts that it received: level and description (RFC 8446 §6). */
  readonly alerts: Set<string>;
}

async function visit(name: string): Promise<Visit> {
  const profile = join(scene.folder, `profile-${name}`);
  const log = join(scene.folder, `net-${name}.json`);
  const browser = new Child(peer("chromium"), [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",
    `--user-data-dir=${profile}`,
    "--host-resolver-rules=MAP * 127.0.0.1",
    `--log-net-log=${log}`,
    "--dump-dom",
    `https://${name}:${scene.door.port}/`,
  ]);
  expect(await browser.ended).toEqual({ status: 0, signal: null });
  const { constants, events } = JSON.parse(readFileSync(log, "utf8"));
  const received = constants.logEventTypes.SSL_ALERT_RECEIVED;
  rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
  return {
    page: browser.lines.join("\n"),
    errors: new Set([...browser.stderr.matchAll(/net_error (-\d+)/g)].map(([, number]) => Number(number))),
    alerts: new Set(
      (events as { type: number; params?: { bytes?: string } }[])
        .filter(({ type }) => type === received)
        .map(({ params }) => Buffer.from(params!.bytes!, "base64").toString("hex")),
    ),
  };
}

beforeAll(async () => {
  scene = new Scene();
  const app = await certificate("app.test");
  await scene.backend({ kind: "http2", path: scene.at("app"), certificate: app, name: "app" });
  await scene.startDoor(
    `backends:
  app: { handoff: "${scene.at("app")}" }
  other: { reject: close }
  unknown: { reject: unrecognized_name }
routes:
  app.test:
    - { backend: other, alpn: acme-tls/1 }
    - { backend: app, alpn: h2, tls: "1.3", clients: 127.0.0.0/8 }
  unknown-by-backend.test: unknown
  unknown.test: { backend: app, access: { allow: "::1", reject: unrecognized_name } }
  denied.test: { backend: app, access: { deny: 127.0.0.0/8 } }
  broken.test: { backend: app, access: { allow: [], reject: internal_error } }
  closed.test: { backend: app, access: { allow: "::1", reject: close } }
  reset.test: { backend: app, access: { allow: "::1", reject: reset } }
`,
    { channels: 1 },
  );
});

afterAll(() => scene.end());

describe("Chromium", () => {
  it("gets the page of a route whose conditions it meets", async () => {
    const { page, errors, alerts } = await visit("app.test");
    expect(page).toContain("app");
    expect({ errors: [...errors], alerts: [...alerts] }).toEqual({ errors: [], alerts: [] });
  });

  it.each([
    ["no-route.test", "ERR_SSL_UNRECOGNIZED_NAME_ALERT", ["0270"]],
    ["unknown-by-backend.test", "ERR_SSL_UNRECOGNIZED_NAME_ALERT", ["0270"]],
    ["unknown.test", "ERR_SSL_UNRECOGNIZED_NAME_ALERT", ["0270"]],
    // It has no error of its own for these two.
    ["denied.test", "ERR_SSL_PROTOCOL_ERROR", ["0231"]],
    ["broken.test", "ERR_SSL_PROTOCOL_ERROR", ["0250"]],
    ["closed.test", "ERR_CONNECTION_CLOSED", []],
    ["reset.test", "ERR_CONNECTION_RESET", []],
  ] as const)("%s: says %s, and received the alerts %j", async (name, error, alerts) => {
    const visited = await visit(name);
    expect(visited.page).toBe("");
    expect([...visited.errors]).toEqual([NET_ERRORS[error]]);
    expect([...visited.alerts]).toEqual(alerts);
  });
});
