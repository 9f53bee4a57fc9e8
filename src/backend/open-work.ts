/** What a server has open, and how each kind of connection is brought to its end without cutting a request. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { ServerHttp2Session } from "node:http2";
import type { Server, Socket } from "node:net";

/** Events of a request that is answered, and of one that makes another protocol of its connection. */
const REQUESTS = ["request", "checkContinue", "checkExpectation"] as const;
const UPGRADES = ["upgrade", "connect"] as const;

interface Requests {
  /** Not answered yet. */
  active: number;
}

export class OpenWork {
  private readonly server: Server;
  private readonly sockets: Set<Socket> = new Set();
  /** HTTP/1 connections that have sent a request. */
  private readonly requests: Map<Socket, Requests> = new Map();
  private readonly unanswered: Set<ServerResponse> = new Set();
  /** HTTP/2 sessions, and whether a stream was opened yet. */
  private readonly sessions: Map<ServerHttp2Session, boolean> = new Map();
  private isRetiring: boolean = false;
  private isCut: boolean = false;
  /** How many connections `cut` has closed. */
  wereCut: number = 0;
  private watchesRequests: boolean = false;

  /** Sees the connections that come from now on. */
  constructor(server: Server) {
    this.server = server;
    server.prependListener("connection", this.onConnection);
    server.prependListener("session", this.onSession);
  }

  /**
   * Each connection ends when its open requests are answered: HTTP/1 by `Connection: close`, HTTP/2 by GOAWAY (RFC 9113
   * §6.8). One whose first request is still to come may make it. What became a WebSocket is its application's to end.
   */
  retire(): void {
    if (this.isRetiring) return;
    this.isRetiring = true;
    for (const response of this.unanswered) response.shouldKeepAlive = false;
    for (const [socket, { active }] of this.requests) if (active === 0) socket.destroySoon();
    for (const [session, isUsed] of this.sessions) if (isUsed) session.close();
  }

  /** Whatever is still open is closed now, and what comes after. */
  cut(): void {
    this.isCut = true;
    const open = [...this.sockets].filter((socket) => !socket.destroyed);
    this.wereCut += open.length;
    for (const session of this.sessions.keys()) session.destroy();
    for (const socket of open) socket.destroy();
  }

  /** Looks no more. */
  stop(): void {
    this.server.removeListener("connection", this.onConnection);
    this.server.removeListener("session", this.onSession);
    for (const event of REQUESTS) this.server.removeListener(event, this.onRequest);
    for (const event of UPGRADES) this.server.removeListener(event, this.onUpgrade);
  }

  private readonly onConnection = (socket: Socket): void => {
    this.sockets.add(socket);
    socket.once("close", () => this.sockets.delete(socket));
    // Not before the server's own listeners have had it.
    if (this.isCut) process.nextTick(() => this.cut());
    this.watchRequests();
  };

  /** Not before the application is set up: a first listener of these events changes what a server does. */
  private watchRequests(): void {
    if (this.watchesRequests) return;
    this.watchesRequests = true;
    for (const event of REQUESTS) this.listen(event, this.onRequest);
    for (const event of UPGRADES) this.listen(event, this.onUpgrade);
  }

  private listen(event: string, listener: (...args: never[]) => void): void {
    if (this.server.listenerCount(event) > 0) this.server.prependListener(event, listener as () => void);
  }

  private readonly onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    if (request.httpVersionMajor !== 1) return; // A stream of a session.
    const { socket } = request;
    const requests = this.requestsOf(socket);
    requests.active++;
    this.unanswered.add(response);
    if (this.isRetiring) response.shouldKeepAlive = false;
    response.once("close", () => {
      requests.active--;
      this.unanswered.delete(response);
      // Its head promised to keep the connection, before the end was known.
      if (this.isRetiring && requests.active === 0 && this.requests.has(socket)) socket.destroySoon();
    });
  };

  private requestsOf(socket: Socket): Requests {
    const known = this.requests.get(socket);
    if (known !== undefined) return known;
    const requests = { active: 0 };
    this.requests.set(socket, requests);
    socket.once("close", () => this.requests.delete(socket));
    return requests;
  }

  /** No HTTP any more. */
  private readonly onUpgrade = ({ socket }: IncomingMessage): void => {
    this.requests.delete(socket);
  };

  private readonly onSession = (session: ServerHttp2Session): void => {
    this.sessions.set(session, false);
    session.once("close", () => this.sessions.delete(session));
    session.once("stream", () => {
      this.sessions.set(session, true);
      if (this.isRetiring) session.close();
    });
  };
}
