/** Real TCP connections whose accepted end is a bare descriptor, as a door has it. */
import { connect, type Socket } from "node:net";
import { type Loop, native } from "../../src/native/addon.js";
import { until } from "./wait.js";

export class TcpListener {
  readonly port: number;
  private readonly descriptor: number;
  private readonly loop: Loop;

  constructor() {
    this.descriptor = native.listenTcp({ address: "127.0.0.1", port: 0, backlog: 511 });
    this.port = native.localAddress(this.descriptor).port;
    this.loop = native.createLoop({ events: 1, peeks: 1, peekBytes: 64, sends: 1, sendBytes: 64, closes: 1 });
  }

  /** Accepts one connection. The caller closes the descriptor. */
  accept(): Promise<number> {
    return until("a connection", () => {
      if (this.loop.accept(this.descriptor, 1) === 0) return undefined;
      return { descriptor: this.loop.peekDescriptors[0]! };
    }).then(({ descriptor }) => descriptor);
  }

  /** A client and the accepted end of its connection; the caller closes both. */
  async pair(): Promise<{ client: Socket; descriptor: number }> {
    const client = connect(this.port, "127.0.0.1");
    client.on("error", () => {});
    return { client, descriptor: await this.accept() };
  }

  close(): void {
    native.close(this.descriptor);
    this.loop.destroy();
  }
}
