/** A TLS client that asks once and keeps its connection open, so that many are open at once. */
import { connect } from "node:tls";
import type { Certificate } from "./certificates.js";
import type { Answer } from "./https-client.js";

export interface KeptOpen {
  readonly fingerprint: string;
  /** Address and port of its own end. */
  readonly client: string;
  readonly body: Answer["body"];
  /** Ends the connection. */
  close(): void;
}

/** Fails unless the certificate is the given one and for its name. */
export function askAndStay(port: number, { name, cert }: Certificate, path: string): Promise<KeptOpen> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, servername: name, ca: cert, ALPNProtocols: ["http/1.1"] });
    let text = "";
    socket.setEncoding("utf8");
    socket.on("error", reject);
    socket.on("end", () => reject(new Error(`the connection for ${name} ended; it had said: ${text}`)));
    socket.once("secureConnect", () => socket.write(`GET ${path} HTTP/1.1\r\nHost: ${name}\r\n\r\n`));
    socket.on("data", (data) => {
      text += data;
      const body = /^\{.*\}\r?$/m.exec(text)?.[0];
      if (body === undefined) return;
      resolve({
        fingerprint: socket.getPeerCertificate().fingerprint256,
        client: `${socket.localAddress}:${socket.localPort}`,
        body: JSON.parse(body),
        close: () => socket.destroy(),
      });
    });
  });
}
