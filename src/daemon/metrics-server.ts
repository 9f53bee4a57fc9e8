/** GET /metrics over TCP, for a Prometheus that cannot reach the control socket. */
import { createServer, type Server } from "node:http";

/** Scrapes at once; each renders everything. */
const MAX_CONNECTIONS = 16;
/** For a client to send its request, and for each part of the answer to be read. Milliseconds. */
const PATIENCE = 5000;

export type RenderMetrics = () => Promise<{ contentType: string; text: string }>;

/** Not listening yet. `failed` hears of a rendering that threw: a defect. */
export function createMetricsServer(
  render: RenderMetrics,
  failed: (error: Error) => void,
  patience: number = PATIENCE,
): Server {
  const options = { headersTimeout: patience, requestTimeout: patience, connectionsCheckingInterval: 1000 };
  const server = createServer({ ...options, maxHeaderSize: 8192 }, async (request, response) => {
    request.resume();
    response.setHeader("connection", "close");
    if (pathOf(request.url ?? "") !== "/metrics")
      return void response.writeHead(404).end("there is only /metrics here\n");
    if (request.method !== "GET" && request.method !== "HEAD") {
      return void response.writeHead(405, { allow: "GET, HEAD" }).end();
    }
    try {
      const { contentType, text } = await render();
      response.writeHead(200, { "content-type": contentType }).end(text);
    } catch (error) {
      failed(error as Error);
      response.writeHead(500).end("the metrics cannot be rendered; the log says why\n");
    }
  });
  server.maxConnections = MAX_CONNECTIONS;
  // Whoever reads nothing would keep one of these for ever.
  server.setTimeout(patience);
  server.on("clientError", (_error, socket) => socket.destroy());
  server.on("error", failed);
  return server;
}

/** "" for a target that is none, such as "//". */
function pathOf(target: string): string {
  const base = "http://localhost";
  return URL.canParse(target, base) ? new URL(target, base).pathname : "";
}
