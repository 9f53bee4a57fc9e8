/** GET /metrics over TCP: whatever a client sends, the door goes on. */
import { once } from "node:events";
import { type AddressInfo, connect } from "node:net";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createMetricsServer } from "../../src/daemon/metrics-server.js";
import { until } from "../support/wait.js";

const failures: Error[] = [];
let server: ReturnType<typeof createMetricsServer>;

beforeEach(async () => {
  failures.length = 0;
  server = createMetricsServer(
    async () => ({ contentType: "text/plain", text: "up 1\n" }),
    (error) => failures.push(error),
  );
  await once(server.listen(0, "127.0.0.1"), "listening");
});

afterEach(() => {
  server.close();
});

async function ask(head: string): Promise<string> {
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  socket.end(`${head}\r\nHost: x\r\n\r\n`);
  let text = "";
  for await (const part of socket.setEncoding("latin1")) text += part;
  return text;
}

it("gives the metrics, with or without a query", async () => {
  expect(await ask("GET /metrics HTTP/1.1")).toMatch(/^HTTP\/1\.1 200 .*up 1\n/s);
  expect(await ask("GET /metrics?x=1 HTTP/1.1")).toMatch(/^HTTP\/1\.1 200 .*up 1\n/s);
});

it.each(["//", "///", "http://[", "*", "/%"])("has nothing at %s", async (target) => {
  expect(await ask(`GET ${target} HTTP/1.1`)).toMatch(/^HTTP\/1\.1 404 /);
  expect(failures).toEqual([]);
});

it("whoever asks and reads nothing does not keep the others out for ever", async () => {
  const text = "x".repeat(8 << 20); // more than any socket holds
  let asked = 0;
  const large = createMetricsServer(
    async () => {
      asked++;
      return { contentType: "text/plain", text };
    },
    (error) => failures.push(error),
    200,
  );
  await once(large.listen(0, "127.0.0.1"), "listening");
  const { port } = large.address() as AddressInfo;
  const idle = Array.from({ length: large.maxConnections }, () => {
    const socket = connect(port, "127.0.0.1").on("error", () => {});
    socket.pause().write("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    return socket;
  });
  const count = () => new Promise<number>((resolve) => large.getConnections((_, found) => resolve(found)));
  await Promise.all(idle.map((socket) => once(socket, "connect")));
  await until("some to ask", () => asked > 0);
  await until("all to be given up", async () => (await count()) === 0);
  for (const socket of idle) socket.destroy();
  large.close();
  expect(failures).toEqual([]);
});
