/**
 * The servers of node-library.mjs, each as its users write it, made and not listening. `secure` is { cert, key }.
 * Every answer ends its connection.
 */
import { createServer as createHttpServer } from "node:http";
import { createSecureServer } from "node:http2";
import { createServer } from "node:https";

const BODY = "hello\n";
/** @param {unknown} _request @param {import("node:http").ServerResponse} response */
const plain = (_request, response) => response.end(BODY);

/**
 * A client that never reads frames cannot know that the answer is whole: the server ends the session.
 *
 * @param {import("node:http2").Http2ServerRequest} request
 * @param {import("node:http2").Http2ServerResponse} response
 */
const plainHttp2 = (request, response) => {
  response.end(BODY);
  request.stream.session?.close();
};

/** @type {Record<string, (secure: { cert: string, key: string }) => import("node:net").Server | Promise<import("node:net").Server>>} */
export const kinds = {
  http: () => createHttpServer(plain),
  https: (secure) => createServer(secure, plain),
  http2: (secure) => createSecureServer(secure, plainHttp2),
  express: async (secure) => {
    const { default: express } = await import("express");
    const app = express();
    app.get("/", (/** @type {unknown} */ _request, /** @type {any} */ response) => response.type("text").send(BODY));
    return createServer(secure, app);
  },
  fastify: async (secure) => {
    const { default: fastify } = await import("fastify");
    const app = fastify({ https: secure });
    app.get("/", (_request, reply) => reply.send(BODY));
    await app.ready();
    return app.server;
  },
  "fastify-http2": async (secure) => {
    const { default: fastify } = await import("fastify");
    const app = fastify({ http2: true, https: secure });
    app.get("/", (request, reply) => {
      request.raw.stream.session?.close();
      return reply.send(BODY);
    });
    await app.ready();
    return app.server;
  },
  koa: async (secure) => {
    const { default: Koa } = await import("koa");
    const app = new Koa();
    app.use((/** @type {{ body: string }} */ context) => {
      context.body = BODY;
    });
    return createServer(secure, app.callback());
  },
  hono: async (secure) => {
    const [{ Hono }, { createAdaptorServer }] = await Promise.all([import("hono"), import("@hono/node-server")]);
    const app = new Hono();
    app.get("/", (context) => context.text(BODY));
    return createAdaptorServer({ fetch: app.fetch, createServer, serverOptions: secure });
  },
  nest: async (secure) => {
    await import("reflect-metadata");
    const [{ Controller, Get, Module }, { NestFactory }] = await Promise.all([
      import("@nestjs/common"),
      import("@nestjs/core"),
    ]);
    class Hello {
      hello() {
        return BODY;
      }
    }
    class Application {}
    const hello = /** @type {PropertyDescriptor} */ (Object.getOwnPropertyDescriptor(Hello.prototype, "hello"));
    Get()(Hello.prototype, "hello", hello);
    Controller()(Hello);
    Module({ controllers: [Hello] })(Application);
    const app = await NestFactory.create(Application, { httpsOptions: secure, logger: false });
    await app.init();
    return app.getHttpServer();
  },
  /** An upgrade, one message, the end. */
  ws: async (secure) => {
    const { WebSocketServer } = await import("ws");
    const server = createServer(secure);
    new WebSocketServer({ server }).on("connection", (socket, request) => {
      socket.on("error", () => {});
      socket.send(BODY, () => request.socket.end());
    });
    return server;
  },
};

/**
 * What is sent to them, where it is not a plain GET, and the ALPN protocol that goes with it.
 *
 * @param {string} kind
 * @returns {{ bytes?: Buffer, protocol?: string }}
 */
export function requestOf(kind) {
  switch (kind) {
    case "http2":
    case "fastify-http2":
      return { bytes: http2Request("app.example"), protocol: "h2" };
    case "ws":
      return {
        bytes: Buffer.from(
          "GET / HTTP/1.1\r\nHost: app.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        ),
      };
    default:
      return {};
  }
}

/** GET /: the preface, SETTINGS and HEADERS (RFC 9113 §3.4, §6.2), with the static table's fields (RFC 7541, appendix A). @param {string} authority */
function http2Request(authority) {
  /** @param {number} type @param {number} flags @param {number} stream @param {Buffer} payload */
  const frame = (type, flags, stream, payload) => {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head.writeUInt8(type, 3);
    head.writeUInt8(flags, 4);
    head.writeUInt32BE(stream, 5);
    return Buffer.concat([head, payload]);
  };
  const [method, scheme, path, authorityName] = [0x82, 0x87, 0x84, 0x41];
  const fields = Buffer.from([method, scheme, path, authorityName, authority.length]);
  return Buffer.concat([
    Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    frame(4, 0, 0, Buffer.alloc(0)),
    frame(1, 0x5, 1, Buffer.concat([fields, Buffer.from(authority)])), // END_STREAM, END_HEADERS
  ]);
}
