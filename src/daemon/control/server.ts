/**
 * HTTP/1.1 over a `Controlled`, for the control socket: `curl --unix-socket PATH http://localhost/status` works. One
 * request a connection. Whatever a client sends or leaves out, nothing is thrown, and its connection ends.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Answer, Asked, Controlled, ControlledRelay } from "./controlled.js";

const MAX_CONNECTIONS = 64;
/** Bytes of the request line and the headers. */
const MAX_HEAD = 8192;
/** Bytes. */
const MAX_BODY = 4096;

export interface ControlServerOptions {
  /** Hears of defects: a handler that threw, a failed accept. `what` is the request's line, or "accept". */
  readonly failed?: (error: Error, what: string) => void;
  /** For a client to send its request, and again for it to read the answer. Milliseconds; 5000 if absent. */
  readonly patience?: number;
}

interface Reply {
  readonly status: number;
  readonly contentType?: string;
  readonly text: string;
  readonly headers?: Readonly<Record<string, string>>;
}

interface Route<A extends Asked> {
  readonly method: "GET" | "POST" | "PUT";
  /** "/status"; or with a name behind it: "/drain/TARGET". */
  readonly path: string;
  readonly run: (asked: A, target: string, body: string) => Promise<Reply>;
}

const looking: readonly Route<Asked>[] = [
  { method: "GET", path: "/status", run: async (asked) => json(200, await asked.status()) },
  { method: "GET", path: "/metrics", run: async (asked) => ({ status: 200, ...(await asked.metrics()) }) },
];
const reload: Route<Asked> = { method: "POST", path: "/reload", run: async (asked) => answer(await asked.reload()) };
const stop: Route<Asked> = { method: "POST", path: "/stop", run: async (asked) => answer(await asked.stop()) };
const logLevel: Route<Asked> = {
  method: "PUT",
  path: "/log-level",
  run: async (asked, _target, body) => answer(await asked.setLogLevel(body.trim())),
};

const routesOfDoor: readonly Route<Controlled>[] = [
  ...looking,
  { method: "GET", path: "/diff", run: async (door) => answer(await door.diff()) },
  reload,
  { method: "POST", path: "/upgrade", run: async (door) => answer(await door.upgrade()) },
  stop,
  { method: "POST", path: "/drain/TARGET", run: async (door, target) => answer(await door.drain(target)) },
  { method: "POST", path: "/undrain/TARGET", run: async (door, target) => answer(await door.undrain(target)) },
  logLevel,
];

const routesOfRelay: readonly Route<ControlledRelay>[] = [
  ...looking,
  reload,
  stop,
  logLevel,
  { method: "POST", path: "/meet", run: async (relay) => answer(await relay.meet()) },
  { method: "POST", path: "/part", run: async (relay) => answer(await relay.part()) },
];

/** Not listening yet. Closing it does not remove the socket's path: control/socket.ts. */
export function createControlServer(door: Controlled, options: ControlServerOptions = {}): Server {
  return createServerFor(door, routesOfDoor, options);
}

export function createRelayControlServer(relay: ControlledRelay, options: ControlServerOptions = {}): Server {
  return createServerFor(relay, routesOfRelay, options);
}

function createServerFor<A extends Asked>(
  asked: A,
  routes: readonly Route<A>[],
  options: ControlServerOptions,
): Server {
  const { patience = 5000 } = options;
  const failed = (error: Error, what: string): void => {
    try {
      options.failed?.(error, what);
    } catch {
      // Nobody is left to be told.
    }
  };
  /** The one of each connection. */
  const exchanges = new WeakMap<object, { readonly request: IncomingMessage; readonly response?: ServerResponse }>();
  /** False for what a client sends behind its request: that is not done, and ends with the connection. */
  const isFirst = (request: IncomingMessage, response?: ServerResponse): boolean => {
    if (exchanges.has(request.socket)) return false;
    exchanges.set(request.socket, { request, ...(response && { response }) });
    return true;
  };
  const server = createServer(
    {
      headersTimeout: patience,
      requestTimeout: patience,
      connectionsCheckingInterval: patience / 10,
      maxHeaderSize: MAX_HEAD,
      // Whoever may connect may ask, by what name ever.
      requireHostHeader: false,
    },
    (request, response) => {
      if (!isFirst(request, response)) return;
      const send = (reply: Reply) => write(request, response, reply, patience);
      serve(asked, routes, request, send, failed).catch((error) => failed(error, lineOf(request)));
    },
  );
  server.maxConnections = MAX_CONNECTIONS;
  // Node counts those of HTTP/1.1 only, and answers them.
  server.maxRequestsPerSocket = 1;
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    const { request, response } = exchanges.get(socket) ?? {};
    // Behind a whole request, or in a body that was refused: the one answer ends the connection.
    if (request?.complete === true || response?.headersSent === true) return;
    refuse(socket as Socket, error.code ?? "", patience);
  });
  // CONNECT; without a listener Node closes the connection without a word.
  server.on("connect", (request: IncomingMessage, socket: Socket) => {
    if (isFirst(request)) end(socket, replyTo(request, routes), patience);
  });
  // Expect: anything but 100-continue; by itself Node answers in words of its own.
  server.on("checkExpectation", (request: IncomingMessage, response: ServerResponse) => {
    if (!isFirst(request, response)) return;
    request.on("error", () => {});
    write(request, response, fault(417, `nothing is expected here but "100-continue"`), patience);
  });
  server.on("error", (error) => failed(error, "accept"));
  return server;
}

async function serve<A extends Asked>(
  asked: A,
  routes: readonly Route<A>[],
  request: IncomingMessage,
  send: (reply: Reply) => void,
  failed: (error: Error, what: string) => void,
): Promise<void> {
  request.on("error", () => {});
  const found = find(request, routes);
  if ("status" in found) return send(found);
  const body = await bodyOf(request);
  if (body === undefined) return;
  if (body === "too long") return send(fault(413, `a body has at most ${MAX_BODY} bytes`));
  let reply: Reply;
  try {
    reply = await found.route.run(asked, found.target, body);
  } catch (thrown) {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    failed(error, lineOf(request));
    reply = fault(500, `the daemon failed to answer: ${error.message}`);
  }
  send(reply);
}

/** The route and its target, or the reply that says what is wrong with the request. */
function find<A extends Asked>(
  request: IncomingMessage,
  routes: readonly Route<A>[],
): { route: Route<A>; target: string } | Reply {
  const method = request.method === "HEAD" ? "GET" : request.method;
  const path = (request.url ?? "").replace(/[?#].*$/s, "");
  const there = routes.filter((route) => matches(route, path));
  const route = there.find((each) => each.method === method);
  if (route === undefined) return replyTo(request, routes, there, path);
  if (!route.path.endsWith("/TARGET")) return { route, target: "" };
  const encoded = path.slice(route.path.length - "TARGET".length);
  const form = `${route.method} ${route.path}, TARGET being a backend or backend/instance`;
  if (encoded === "") return fault(400, `a target is missing: ${form}`);
  try {
    return { route, target: decodeURIComponent(encoded) };
  } catch {
    return fault(400, `the target ${JSON.stringify(encoded)} is not percent-encoded UTF-8: ${form}`);
  }
}

function matches({ path: pattern }: { readonly path: string }, path: string): boolean {
  return pattern.endsWith("/TARGET")
    ? path.startsWith(pattern.slice(0, -"TARGET".length)) || path === pattern.slice(0, -"/TARGET".length)
    : path === pattern;
}

/** No route: 404, or 405 if there is one for another method. */
function replyTo(
  request: IncomingMessage,
  routes: readonly Pick<Route<Asked>, "method" | "path">[],
  there: readonly Pick<Route<Asked>, "method" | "path">[] = [],
  path = request.url ?? "",
): Reply {
  if (there.length > 0) {
    const allowed = there.map(({ method }) => (method === "GET" ? "GET, HEAD" : method)).join(", ");
    return {
      ...fault(405, `${request.method} is not for ${path}; allowed: ${allowed}`),
      headers: { Allow: allowed },
    };
  }
  return fault(
    404,
    `there is no ${JSON.stringify(path)}`,
    routes.map((each) => `${each.method} ${each.path}`),
  );
}

/** undefined: the client is gone. */
function bodyOf(request: IncomingMessage): Promise<string | "too long" | undefined> {
  if (Number(request.headers["content-length"] ?? 0) > MAX_BODY) return Promise.resolve("too long");
  const parts: Buffer[] = [];
  let length = 0;
  // Not by iteration: to leave that destroys the request, and the answer with it.
  return new Promise((resolve) => {
    request.on("data", (part: Buffer) => {
      length += part.length;
      if (length > MAX_BODY) resolve("too long");
      else parts.push(part);
    });
    request.on("end", () => resolve(Buffer.concat(parts).toString()));
    request.on("close", () => resolve(undefined));
  });
}

function write(
  { socket }: IncomingMessage,
  response: ServerResponse,
  { status, contentType, text, headers }: Reply,
  patience: number,
): void {
  if (socket.destroyed) return;
  // What is left of a request that was refused is not waited for, nor a client that reads nothing.
  response.on("finish", () => socket.destroySoon());
  socket.setTimeout(patience, () => socket.destroy());
  response.writeHead(status, {
    ...headers,
    "Content-Type": contentType ?? "application/json; charset=utf-8",
    "Content-Length": Buffer.byteLength(text),
    "Cache-Control": "no-store",
    Connection: "close",
  });
  response.end(text);
}

/** For bytes that are no request, or one that does not come to its end. */
function refuse(socket: Socket, code: string, patience: number): void {
  const faults: Readonly<Record<string, Reply>> = {
    HPE_HEADER_OVERFLOW: fault(431, `the request's line and headers have at most ${MAX_HEAD} bytes`),
    ERR_HTTP_REQUEST_TIMEOUT: fault(408, `the request was not complete within ${patience / 1000} s`),
  };
  end(socket, faults[code] ?? fault(400, "this is no HTTP/1.1 request"), patience);
}

/** Answers without a `ServerResponse`, and closes. */
function end(socket: Socket, { status, text }: Reply, patience: number): void {
  socket.on("error", () => {});
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const head = [
    `HTTP/1.1 ${status} ${STATUS[status]}`,
    "Content-Type: application/json; charset=utf-8",
    `Content-Length: ${Buffer.byteLength(text)}`,
    "Connection: close",
  ];
  socket.setTimeout(patience, () => socket.destroy());
  socket.end(`${head.join("\r\n")}\r\n\r\n${text}`, () => socket.destroy());
}

const STATUS: Readonly<Record<number, string>> = {
  400: "Bad Request",
  404: "Not Found",
  408: "Request Timeout",
  431: "Request Header Fields Too Large",
};

function answer(given: Answer): Reply {
  return json(given.ok ? 200 : 409, given);
}

function fault(status: number, message: string, details?: readonly string[]): Reply {
  return json(status, { ok: false, message, details });
}

function json(status: number, value: unknown): Reply {
  return { status, text: `${JSON.stringify(value)}\n` };
}

function lineOf({ method, url }: IncomingMessage): string {
  return `${method} ${url}`;
}
