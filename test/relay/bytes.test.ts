import { createHash, randomBytes } from "node:crypto";
import { createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { connected } from "../support/raw-client.js";
import { RelayPlane, target } from "../support/relay-plane.js";
import { until } from "../support/wait.js";

const MEGABYTES = 8 << 20;

let plane: RelayPlane;
let server: Server;
let sockets: Socket[];

/** A target that does `serve` with each connection. */
async function origin(serve: (socket: Socket) => void): Promise<number> {
  server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as { port: number }).port;
}

beforeEach(() => {
  plane = new RelayPlane();
  sockets = [];
});

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  server.close();
  await plane.end();
});

async function collect(socket: Socket): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of socket) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

describe("bytes", () => {
  test("go both ways at once, whole, and both ends are passed on", async () => {
    const up = randomBytes(MEGABYTES);
    const down = randomBytes(MEGABYTES);
    let gotAtTarget: Promise<string> | undefined;
    const port = await origin((socket) => {
      gotAtTarget = collect(socket);
      socket.end(down);
    });
    await plane.start([{ name: "app", targets: [target(port)] }]);
    const client = await connected(plane.port);
    await plane.handOver("app");
    client.end(up);
    expect(await collect(client)).toBe(sha256(down));
    expect(await gotAtTarget).toBe(sha256(up));
    await plane.idle();
    expect(plane.totals).toMatchObject({ received: 1, connected: 1, completed: 1, client_reset: 0, target_reset: 0 });
    expect(plane.targets[0]).toMatchObject({
      connections: 1,
      active: 0,
      bytes_to_target: MEGABYTES,
      bytes_to_client: MEGABYTES,
    });
    await until("pipes to be given back", () => plane.gauges.pipes_in_use === 0);
  });
});
