/**
 * Configuration files: bytes as text; or, behind a byte 0, as decisions what to change in one that is right. Either it is
 * taken, or everything that is wrong with it is said, each thing with its place.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import type { Configuration } from "../../../src/daemon/configuration/configuration.js";
import { isEmpty } from "../../../src/daemon/configuration/diff.js";
import { explainName } from "../../../src/daemon/configuration/explain.js";
import { diffConfigurations, formatDiff, loadConfiguration } from "../../../src/daemon/configuration/index.js";
import { ConfigurationError, formatProblem } from "../../../src/errors.js";
import { KeyCursor } from "../../../src/routing/keys.js";
import { check, HIDDEN, same } from "../check.js";
import { integer, randomBytes, randomOf, seededRandom } from "../random.js";
import { fileSeeds, textSeeds } from "../seeds.js";
import { changed } from "../tree.js";

const folder = mkdtempSync(join(tmpdir(), "sni-handoff-fuzz-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const file = join(folder, "x.yaml");
writeFileSync(join(folder, "tenants.map"), "a.tenants.example https\n*.b.tenants.example http2\n");
writeFileSync(
  join(folder, "more.yaml"),
  "backends: { more: { handoff: more.sock } }\nroutes: { more.example: more }\n",
);

/** A configuration with nearly all that there is. */
const EVERYTHING = `
listeners:
  - { address: "127.0.0.1:8443", backlog: 16, deferAccept: 2s, keepAlive: true, acceptProxyProtocol: [10.0.0.0/8] }
  - { address: "[::1]:8080", protocol: http, v6Only: true }
workers: 2
include: more.yaml
control: { path: control.sock, mode: "0600" }
pidfile: x.pid
log: { level: info }
accessLog: { sample: 10 }
metrics: { address: "127.0.0.1:9443" }
timeouts: { hello: 5s, drain: 10s, upgrade: 30s }
limits: { waitingPerClient: 200, acceptRate: 100, hello: 16KiB }
backends:
  https: { handoff: run/https.sock, hold: 5s, maxHeld: 10, fallback: sorry, balance: least-connections }
  http2: { handoff: run/http2.d/, acknowledgeTimeout: 1s, connect: lazily }
  old: { handoff: old.sock, protocol: datagram, maxHello: 2KiB }
  far: { relay: ["192.0.2.1:443", "app.internal:8443", "unix:/run/app.sock"], proxyProtocol: v2, idleTimeout: 1m }
  sorry: { reject: internal_error }
routes:
  www.example.com: https
  "*.example.com":
    - { backend: http2, alpn: [h2, acme-tls/1], tls: "1.3" }
    - { backend: far, clients: [10.0.0.0/8, "fd00::/8"] }
    - https
  admin.example.com: { backend: https, access: { allow: [127.0.0.0/8], deny: ["::1"], reject: reset } }
patterns: [{ match: "shard-[0-9]+[.]example", backend: http2 }]
maps: [tenants.map]
default: sorry
noServerName: https
notTls: [{ starts: ssh, backend: far }, { starts: http, backend: https }]
silent: { after: 3s, backend: far }
http: { routes: { www.example.com: https }, redirect: { to: https, port: 8443 } }
`;
const everything: unknown = parse(EVERYTHING);

export async function fuzz(data: Uint8Array): Promise<void> {
  const text = data[0] === 0 ? changedText(data) : data;
  writeFileSync(file, text);
  const first = await load();
  if (!(first instanceof ConfigurationError)) return checkTaken(first, await load());
  check(first.problems.length > 0, "at least one thing that is wrong");
  const lines = Buffer.from(text)
    .toString()
    .split(/\r\n|\r|\n/).length;
  for (const problem of first.problems) {
    const { file: where, line, column, message } = problem;
    check(line >= 1 && column >= 1, "a place", problem);
    if (where === file) check(line <= lines + 1, `a line of the file, which has ${lines}`, problem);
    check(message !== "" && !HIDDEN.test(formatProblem(problem)), "a fault in one line", problem);
  }
}

function changedText(data: Uint8Array): string {
  const random = randomOf(data, 1);
  const value = changed(random, everything, integer(random, 0, 3));
  return stringify(value, { aliasDuplicateObjects: false });
}

async function load(): Promise<Configuration | ConfigurationError> {
  try {
    return await loadConfiguration(file);
  } catch (error) {
    check(error instanceof ConfigurationError, "one kind of error", error instanceof Error ? error.stack : error);
    return error;
  }
}

function checkTaken(configuration: Configuration, again: Configuration | ConfigurationError): void {
  check(!(again instanceof ConfigurationError), "the same file is taken twice", String(again));
  const diff = diffConfigurations(configuration, again);
  check(isEmpty(diff), "no difference from itself", formatDiff(diff));
  // Workers get it by postMessage().
  structuredClone(configuration.door);
  const { backends } = configuration.door;
  for (const warning of configuration.warnings) check(!HIDDEN.test(formatProblem(warning)), "one line", warning);
  let names = 0;
  for (const cursor = new KeyCursor(configuration.routes); cursor.next(); names++) {
    const name = cursor.pattern.replace(/^\*/, "x");
    const { backend } = explainName(configuration, name);
    check(backends.includes(backend), `${name} has a backend`, backend);
  }
  same(names, configuration.names, "names of the table");
}

export const seeds = (): Uint8Array[] => [
  ...fileSeeds("examples", ".yaml"),
  ...textSeeds(
    EVERYTHING,
    "a: &a [*a]\n",
    "a: &a {<<: *a}\n",
    "{a: 1, a: 2}\n---\n",
    "? [x]\n: y\n",
    "\xef\xbb\xbflisteners: [ ]\n",
  ),
  ...Array.from({ length: 16 }, (_, seed) => Uint8Array.from([0, ...randomBytes(seededRandom(seed), 24)])),
];

export const words = [
  "listeners:",
  "backends:",
  "routes:",
  "- address: ",
  "handoff: ",
  "&a ",
  "*a",
  "<<: ",
  "!!binary ",
  "? ",
  "|\n",
];
