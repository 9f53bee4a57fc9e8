/** A TLS server that knows nothing of this project: what a relay connects to. */
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import type { Certificate } from "./certificates.js";

/** Answers "/": who it is; "/slow": a line, and another one for each call of `more`, until `finish`. */
export class TlsOrigin {
  readonly server: Server;
  readonly name: string;
  /** Connections that it has. */
  readonly sockets: Set<Duplex> = new Set();
  private readonly downloads: Set<{ write(text: string): unknown; end(text: string): unknown }> = new Set();

  private constructor(server: Server, name: string) {
    this.server = server;
    this.name = name;
  }

  /** On a port of loopback that the kernel chooses, or a unix socket. */
  static async start({ cert, key, name }: Certificate, at: string | number = 0): Promise<TlsOrigin> {
    const server = createServer({ cert, key }, (request, response) => {
      if (request.url !== "/slow") {
        const { remoteAddress: client, servername: serverName } = request.socket as TLSSocket;
        const body = { name, pid: process.pid, url: request.url, client, serverName, connectionId: "" };
        response.end(JSON.stringify(body));
        return;
      }
      origin.downloads.add(response);
      response.on("close", () => origin.downloads.delete(response));
      response.write("begun\n");
    });
    const origin = new TlsOrigin(server, name);
    server.on("connection", (socket) => {
      origin.sockets.add(socket);
      socket.on("close", () => origin.sockets.delete(socket));
    });
    await new Promise<void>((resolve) => {
      if (typeof at === "number") server.listen(at, "127.0.0.1", resolve);
      else server.listen(at, resolve);
    });
    return origin;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** "127.0.0.1:port". */
  get target(): string {
    return `127.0.0.1:${this.port}`;
  }

  more(text = "more\n"): void {
    for (const download of this.downloads) download.write(text);
  }

  finish(): void {
    for (const download of this.downloads) download.end("end\n");
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }
}
