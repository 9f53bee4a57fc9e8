/** What clients print when an access list shuts them out, for each way in which it may. */
import { execFile } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { program } from "../support/programs.js";
import { Scene } from "../support/scene.js";

let scene: Scene;

beforeAll(async () => {
  scene = new Scene();
  const route = (reject: string) =>
    `  ${reject.replace("_", "-")}.test: { backend: app, access: { allow: "::1", reject: ${reject} } }\n`;
  const ways = ["unrecognized_name", "access_denied", "internal_error", "close", "reset"];
  await scene.startDoor(`backends: { app: { handoff: "${scene.at("app")}" } }\nroutes:\n${ways.map(route).join("")}`);
});

afterAll(async () => {
  expect(await scene.counters()).toMatchObject({ accepted: 20, access_denied: 20, no_route: 0, defect: 0 });
  await scene.end();
});

const openssl = (version: string) => (name: string) => [
  "s_client",
  "-connect",
  `127.0.0.1:${scene.door.port}`,
  "-servername",
  name,
  version,
];
const curl = (name: string) => [
  ...["-sS", "--noproxy", "*", "--resolve", `${name}:${scene.door.port}:127.0.0.1`],
  `https://${name}:${scene.door.port}`,
];
const gnutls = (name: string) => ["--port", `${scene.door.port}`, "--sni-hostname", name, "127.0.0.1"];

type Say = readonly [name: string, openssl: RegExp, curl: RegExp, gnutls: RegExp];
const EOF = /unexpected eof while reading/;
const ways: readonly Say[] = [
  [
    "unrecognized-name.test",
    /tlsv1 unrecognized name:.*SSL alert number 112/,
    /^curl: \(35\) .*tlsv1 unrecognized name/,
    /Received alert \[112\]: The server name sent was not recognized/,
  ],
  [
    "access-denied.test",
    /tlsv1 alert access denied:.*SSL alert number 49/,
    /^curl: \(35\) .*tlsv1 alert access denied/,
    /Received alert \[49\]: Access was denied/,
  ],
  [
    "internal-error.test",
    /tlsv1 alert internal error:.*SSL alert number 80/,
    /^curl: \(35\) .*tlsv1 alert internal error/,
    /Received alert \[80\]: Internal error/,
  ],
  ["close.test", EOF, /^curl: \(35\) /, /The TLS connection was non-properly terminated/],
  ["reset.test", /errno=104/, /^curl: \(35\) .*Connection reset by peer/, /Error in the pull function/],
];

describe.each(ways)("%s", (name, ofOpenssl, ofCurl, ofGnutls) => {
  const clients: [
    title: string,
    command: Parameters<typeof program>[0],
    args: (name: string) => string[],
    says: RegExp,
  ][] = [
    ["openssl s_client, TLS 1.3", "openssl", openssl("-tls1_3"), ofOpenssl],
    ["openssl s_client, TLS 1.2", "openssl", openssl("-tls1_2"), ofOpenssl],
    ["curl", "curl", curl, ofCurl],
    ["gnutls-cli", "gnutls-cli", gnutls, ofGnutls],
  ];

  it.each(clients)("in the words of %s", async (_title, command, args, says) => {
    const printed = await new Promise<string>((resolve) => {
      execFile(program(command), args(name), (error, stdout, stderr) => {
        resolve(error === null ? "it succeeded" : `${stderr}${stdout}`);
      });
    });
    expect(printed).toMatch(says);
  });
});
