/** A client's socket whose first write is sent in two pieces. */
import type { Socket } from "node:net";
import { Duplex } from "node:stream";

/** Bytes of the first piece: no more than the head of a TLS record. */
const FIRST = 5;

export class InPieces extends Duplex {
  private readonly socket: Socket;
  private readonly goOn: Promise<void>;
  private isFirst: boolean = true;

  /** The second piece is sent when `goOn` resolves. */
  constructor(socket: Socket, goOn: Promise<void>) {
    super();
    this.socket = socket;
    this.goOn = goOn;
    socket.on("data", (data) => this.push(data));
    socket.on("end", () => this.push(null));
    socket.on("error", (error) => this.destroy(error));
    socket.on("close", () => this.destroy());
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    if (!this.isFirst) {
      this.socket.write(chunk, done);
      return;
    }
    this.isFirst = false;
    this.socket.write(chunk.subarray(0, FIRST));
    this.goOn.then(() => this.socket.write(chunk.subarray(FIRST), done));
  }

  override _final(done: () => void): void {
    this.socket.end(done);
  }
}
