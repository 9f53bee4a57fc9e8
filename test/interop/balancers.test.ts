/** Load balancers of other projects in front of the door: it hears from them who the client is, and TLS goes through unread. */
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { type Certificate, certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";
import { freePort } from "./support/free-port.js";
import { peer } from "./support/peers.js";

/** Who connects to the balancer, so that it is seen that not the balancer's address is told. */
const CLIENT = "127.0.0.77";

let app: Certificate;
let scene: Scene;
let balancer: Child | undefined;

beforeAll(async () => {
  app = await certificate("app.test");
});

beforeEach(() => {
  scene = new Scene();
});

afterEach(async () => {
  if (balancer?.running) await balancer.end("SIGKILL");
  balancer = undefined;
  await scene.end();
});

async function startDoor(): Promise<void> {
  await scene.backend({ kind: "https", path: scene.at("app"), certificate: app, name: "app" });
  const configuration = `accessLog: all
backends: { app: { handoff: "${scene.at("app")}" } }
routes:
  app.test: [{ backend: app, clients: ${CLIENT} }]
`;
  await scene.startDoor(configuration, { channels: 1, listener: "acceptProxyProtocol: [127.0.0.1]" });
}

function haproxy(port: number, options: string): Child {
  const file = join(scene.folder, "haproxy.cfg");
  writeFileSync(
    file,
    `defaults
  mode tcp
  timeout connect 1m
  timeout check 1m
  timeout client 1m
  timeout server 1m
listen door
  bind 127.0.0.1:${port}
  unique-id-format %[uuid()]
  server door 127.0.0.1:${scene.door.port} ${options}
`,
  );
  return new Child(peer("haproxy"), ["-db", "-f", file]);
}

function nginx(port: number): Child {
  const file = join(scene.folder, "nginx.conf");
  const modules = "/usr/lib/nginx/modules/ngx_stream_module.so";
  writeFileSync(
    file,
    `load_module ${modules};
daemon off;
master_process off;
pid ${scene.folder}/nginx.pid;
error_log ${scene.folder}/nginx.log;
events {}
stream { server { listen 127.0.0.1:${port}; proxy_protocol on; proxy_pass 127.0.0.1:${scene.door.port}; } }
`,
  );
  return new Child(peer("nginx"), ["-p", scene.folder, "-c", file]);
}

/** Connects from CLIENT's address as soon as the balancer listens. */
function reach(port: number): Promise<Socket> {
  return until("the balancer to listen", async () => {
    const socket = connect({ port, host: "127.0.0.1", localAddress: CLIENT });
    try {
      await once(socket, "connect");
      return socket;
    } catch {
      return undefined;
    }
  });
}

/** One request over TLS: what the backend says of its client, and the port that the client has. */
async function ask(port: number): Promise<{ client: string; port: number }> {
  const socket = await reach(port);
  const { localPort } = socket;
  const client = connectTls({ socket, servername: app.name, ca: app.cert });
  client.write("GET /balanced HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n");
  let text = "";
  for await (const data of client) text += data;
  return { client: JSON.parse(text.slice(text.indexOf("{"), text.lastIndexOf("}") + 1)).client, port: localPort! };
}

const balancers: [name: string, start: (port: number) => Child][] = [
  ["HAProxy, send-proxy", (port) => haproxy(port, "send-proxy")],
  ["HAProxy, send-proxy-v2", (port) => haproxy(port, "send-proxy-v2")],
  [
    "HAProxy, send-proxy-v2 with a checksum and a unique id",
    (port) => haproxy(port, "send-proxy-v2 proxy-v2-options crc32c,unique-id"),
  ],
  ["nginx, proxy_protocol", nginx],
];

it.each(balancers)("%s: the backend sees the client, and rules hold for it", async (_, start) => {
  await startDoor();
  const port = await freePort();
  balancer = start(port);
  for (let i = 0; i < 5; i++) {
    const { client, port: own } = await ask(port);
    expect(client).toBe(`${CLIENT}:${own}`);
  }
  await until("five lines", () => scene.door.log.filter(({ outcome }) => outcome === "handed_over").length === 5);
  const line = scene.door.log.find(({ outcome }) => outcome === "handed_over");
  expect(line).toMatchObject({ client: CLIENT, proxy: "127.0.0.1", server_name: "app.test" });
  await balancer.end("SIGKILL");
  expect(await scene.counters()).toMatchObject({ proxy_header_invalid: 0, acknowledged: 5, not_tls: 0 });
});

it("HAProxy's health checks, LOCAL ones, are no invalid headers", async () => {
  await startDoor();
  const port = await freePort();
  balancer = haproxy(port, "send-proxy-v2 check check-send-proxy inter 100ms");
  const { client, port: own } = await ask(port);
  expect(client).toBe(`${CLIENT}:${own}`);
  await until("some checks", () => scene.door.log.filter(({ outcome }) => outcome === "client_gone").length > 3);
  await balancer.end("SIGKILL");
  const { proxy_header_invalid, proxied } = await scene.counters();
  expect(proxy_header_invalid).toBe(0);
  expect(proxied).toBeGreaterThan(3);
});
