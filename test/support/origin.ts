/** A TCP server of the test as a relay's target: it does with each connection what it was told to. */
import { type AddressInfo, createServer, type ListenOptions, type Server, type Socket } from "node:net";
import type { TargetAddress } from "../../src/relay/settings.js";

export class Origin {
  readonly sockets: Socket[] = [];
  private readonly server: Server;
  readonly port: number;
  readonly target: { name: string; addresses: TargetAddress[] };

  private constructor(server: Server, path: string | undefined) {
    this.server = server;
    this.port = path === undefined ? (server.address() as AddressInfo).port : 0;
    const address = path === undefined ? (server.address() as AddressInfo).address : "";
    const name = path === undefined ? `${address}:${this.port}` : `unix:${path}`;
    this.target = { name, addresses: [path === undefined ? { address, port: this.port } : { path }] };
  }

  /** Half-open connections stay until `serve` ends them. It listens at a path, or on a port: any, or a given one. */
  static async start(
    serve: (socket: Socket) => void,
    at: string | number = 0,
    host: string = "127.0.0.1",
  ): Promise<Origin> {
    let origin: Origin | undefined;
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on("error", () => {});
      origin!.sockets.push(socket);
      serve(socket);
    });
    const options: ListenOptions = typeof at === "number" ? { port: at, host } : { path: at };
    await new Promise<void>((resolve) => server.listen(options, resolve));
    origin = new Origin(server, typeof at === "number" ? undefined : at);
    return origin;
  }

  /** Answers what each client sends with the name, and ends when the client does. */
  static named(name: string, at?: string | number, host?: string): Promise<Origin> {
    return Origin.start(
      (socket) => {
        socket.once("data", () => socket.write(name));
        socket.on("end", () => socket.end());
      },
      at,
      host,
    );
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    if (this.server.listening) await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}
