/**
 * Connections in datagrams, with the programs that know no other way: sni-router 0.2.11 as a sender and as a receiver,
 * over real TLS, and tarweb 0.1.8, which needs kernel TLS and so runs, with the door, in a virtual machine.
 */
import { execFile } from "node:child_process";
import { cpSync, mkdirSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { attach, type DatagramReceiver, handoffInfo } from "../../src/backend/index.js";
import { type Certificate, certificate } from "../support/certificates.js";
import { openSockets } from "../support/descriptors.js";
import { DoorProcess } from "../support/door-process.js";
import { Folder } from "../support/folder.js";
import { get } from "../support/https-client.js";
import { program } from "../support/programs.js";
import { until } from "../support/wait.js";
import { peer } from "./support/peers.js";
import { SniRouter } from "./support/sni-router.js";

const run = promisify(execFile);
const folder = new Folder();
const NAME = "app[.]example";
const HELD = "hold: 30s";

let app: Certificate;
/** Answers what it sees, over a port and over datagrams. */
let server: Server;
let port: number;
let receiver: DatagramReceiver;
const pass = folder.at("pass.sock");

beforeAll(async () => {
  app = await certificate("app.example");
  folder.write("ca.pem", app.cert);
  server = createServer({ cert: app.cert, key: app.key }, (request, response) => {
    const info = handoffInfo(request);
    const client = `${request.socket.remoteAddress}:${request.socket.remotePort}`;
    response.end(JSON.stringify({ url: request.url, client, serverName: info?.serverName, tls: info?.tls }));
  });
  server.listen(0, "127.0.0.1");
  await until("the server's port", () => server.listening);
  port = (server.address() as AddressInfo).port;
  receiver = await attach(server, { path: pass, protocol: "datagram" });
});

afterAll(async () => {
  await receiver.close();
  server.closeAllConnections();
  server.close();
});

const doorTo = (path: string) =>
  DoorProcess.start(
    folder.path,
    `backends: { router: { handoff: ${path}, protocol: datagram, ${HELD} } }\nroutes: { app.example: router }\n`,
    { workers: 2 },
  );

/** As many requests at once as no queue takes, each over its own connection, and what every answer says. */
async function ask(at: number): Promise<Awaited<ReturnType<typeof get>>[]> {
  return Promise.all(Array.from({ length: 60 }, (_, i) => get(at, app, `/${i}`)));
}

/** curl, with its own TLS library: a hello of another shape. */
async function curl(at: number, ...args: string[]): Promise<unknown> {
  const to = ["--connect-to", `app.example:443:127.0.0.1:${at}`, "--cacert", folder.at("ca.pem")];
  return JSON.parse((await run(program("curl"), ["-sS", ...to, ...args, "https://app.example/curl"])).stdout);
}

describe("sni-router", () => {
  it("gets connections from the door, and proxies them", async () => {
    const path = folder.at("router.sock");
    const router = await SniRouter.start(folder.path, { [NAME]: `proxy: < addr: "127.0.0.1:${port}" >` }, path);
    const door = await doorTo(path);
    const before = openSockets(door.pid);
    for (const [i, { body }] of (await ask(door.port)).entries()) expect(body.url).toBe(`/${i}`);
    expect(await curl(door.port, "--tls-max", "1.2")).toMatchObject({ url: "/curl" });
    await until("the door's sockets of before", () => openSockets(door.pid) === before);
    expect(await door.stop()).toMatchObject({ accepted: 61, acknowledged: 61, hello_spent: 0, hold_timeout: 0 });
    await router.stop();
  });

  it("gets connections from the door, and passes them on to a Node server, which knows the client", async () => {
    const path = folder.at("middle.sock");
    const router = await SniRouter.start(folder.path, { [NAME]: `pass: < path: "${pass}" >` }, path);
    const door = await doorTo(path);
    for (const [i, { body, client }] of (await ask(door.port)).entries()) {
      expect(body).toEqual({ url: `/${i}`, client, serverName: "app.example", tls: true });
    }
    expect(await door.stop()).toMatchObject({ accepted: 60, acknowledged: 60 });
    await router.stop();
  });

  it("passes connections to a Node server, which reads what sni-router has read", async () => {
    const before = receiver.counts.received;
    const router = await SniRouter.start(folder.path, { [NAME]: `pass: < path: "${pass}" >` });
    for (const [i, { body, client }] of (await ask(router.port)).entries()) {
      expect(body).toEqual({ url: `/${i}`, client, serverName: "app.example", tls: true });
    }
    expect(await curl(router.port)).toMatchObject({ url: "/curl", serverName: "app.example" });
    expect(await curl(router.port, "--tls-max", "1.2")).toMatchObject({ url: "/curl", serverName: "app.example" });
    expect(receiver.counts).toEqual({ received: before + 62, dead: 0, refused: 0 });
    await router.stop();
  });

  it("is killed and started again while clients wait in the door: none is lost", async () => {
    const path = folder.at("again.sock");
    const rules = { [NAME]: `proxy: < addr: "127.0.0.1:${port}" >` };
    const door = await doorTo(path);
    for (let round = 0; round < 2; round++) {
      const answers = ask(door.port);
      await until("clients that wait", () => openSockets(door.pid) >= 60);
      const router = await SniRouter.start(folder.path, rules, path);
      expect((await answers).length).toBe(60);
      await router.stop();
    }
    expect(await door.stop()).toMatchObject({ accepted: 120, acknowledged: 120, hello_spent: 0, hold_timeout: 0 });
  });
});

describe("tarweb", () => {
  it("gets connections from the door; hellos that its buffer does not hold go to the fallback", async () => {
    const root = fileURLToPath(new URL("../..", import.meta.url));
    const door = folder.at("door");
    mkdirSync(`${door}/native/build`, { recursive: true });
    for (const part of ["dist", "package.json", "native/build/Release"]) {
      cpSync(`${root}${part}`, `${door}/${part}`, { recursive: true });
    }
    // Without the compiler's record the bundle counts, which needs no other packages.
    rmSync(`${door}/dist/.tsbuildinfo`);
    folder.write("key.pem", app.key);
    folder.write("site/index.html", "from tarweb\n");
    await run("tar", ["-C", folder.at("site"), "-cf", folder.at("site.tar"), "index.html"]);
    folder.write(
      "tarweb.yaml",
      `listeners: [{ address: "127.0.0.1:443" }]
timeouts: { hello: 5m }
backends:
  tar: { handoff: /run/tarweb.sock, protocol: datagram, maxHello: 2KiB, hold: 5m, fallback: long }
  long: { reject: access_denied }
routes: { app.example: tar }
`,
    );
    const [node, curl, openssl, tarweb] = [process.execPath, program("curl"), program("openssl"), peer("tarweb")];
    // 1,900 bytes of ALPN beside what every hello of OpenSSL has: over 2,048.
    const long = Array.from({ length: 10 }, (_, i) => String(i).repeat(189)).join(",");
    folder.write(
      "run.sh",
      `cd ${folder.path}
${node} door/dist/cli/main.js serve --config tarweb.yaml >door.log 2>&1 &
door=$!
until grep -q '"event":"ready"' door.log; do kill -0 $door || { cat door.log; exit 1; }; sleep 0.1; done
${tarweb} --passfd /run/tarweb.sock -P key.pem -C ca.pem site.tar &
for i in 1 2 3; do
  ${curl} -sS --max-time 300 --cacert ca.pem --connect-to app.example:443:127.0.0.1:443 https://app.example/index.html
done
${openssl} s_client -connect 127.0.0.1:443 -servername app.example -alpn ${long} </dev/null 2>&1 | grep -o "alert access denied"
kill $door; wait $door
grep -o '"event":"stopped".*' door.log
`,
    );
    const paths = [folder.path, node, curl, openssl, tarweb].flatMap((path) => ["-p", path]);
    const vm = fileURLToPath(new URL("support/ktls-vm.sh", import.meta.url));
    const { stdout } = await run("bash", [vm, "-t", "600", ...paths, "--", `sh ${folder.at("run.sh")}`]);
    const lines = stdout.split("\n").filter((line) => /^(from tarweb|alert|"event":"stopped")/.test(line));
    expect(lines.slice(0, -1), stdout).toEqual(["from tarweb", "from tarweb", "from tarweb", "alert access denied"]);
    const counters = JSON.parse(/"counters":(\{[^}]*\})/.exec(lines.at(-1)!)![1]!);
    expect(counters).toMatchObject({ accepted: 4, acknowledged: 3, fallback: 1, rejected: 1, hello_spent: 0 });
  }, 660_000);
});
