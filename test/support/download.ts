/** A download of a `TlsOrigin` that is under way: what of it has come. */
import { request } from "node:https";
import type { Certificate } from "./certificates.js";
import { until } from "./wait.js";

export class Download {
  text = "";
  /** "end", or the error. */
  ended: string | undefined;

  /** Resolves when it has begun. */
  static async start(port: number, { name, cert }: Certificate): Promise<Download> {
    const download = new Download();
    const options = { host: "127.0.0.1", port, servername: name, ca: cert, path: "/slow", agent: false };
    const sent = request({ ...options, headers: { host: name } }, (response) => {
      response.setEncoding("utf8");
      response.on("data", (text) => {
        download.text += text;
      });
      response.on("error", (error) => {
        download.ended = error.message;
      });
      response.on("end", () => {
        download.ended ??= "end";
      });
    });
    sent.on("error", (error) => {
      download.ended ??= error.message;
    });
    sent.end();
    await until("a download to begin", () => {
      if (download.ended !== undefined) throw new Error(`it ended: ${download.ended}`);
      return download.text !== "";
    });
    return download;
  }

  /** Resolves when so many lines have come. Throws if it has ended. */
  async lines(count: number): Promise<void> {
    await until(`${count} lines of a download`, () => {
      if (this.text.split("\n").length - 1 >= count) return true;
      if (this.ended !== undefined) throw new Error(`it ended: ${this.ended}`);
      return false;
    });
  }
}
