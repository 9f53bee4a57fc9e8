/** A client that checks whose certificate it gets. */
import { type Agent, request } from "node:https";
import type { TLSSocket } from "node:tls";
import type { Certificate } from "./certificates.js";

export interface Answer {
  readonly status: number;
  readonly fingerprint: string;
  /** Of the client's own end of the connection. */
  readonly client: string;
  readonly body: {
    readonly name: string;
    readonly pid: number;
    readonly url: string;
    readonly client: string;
    readonly serverName?: string;
    readonly alpn?: string;
    readonly connectionId: string;
  };
}

/** One GET. Fails unless the certificate is the expected one. */
export function get(
  port: number,
  certificate: Certificate,
  path = "/",
  options: { name?: string; agent?: Agent | false; host?: string } = {},
): Promise<Answer> {
  const { name = certificate.name, agent = false, host = "127.0.0.1" } = options;
  return new Promise((resolve, reject) => {
    const sent = request(
      { host, port, servername: name, path, ca: certificate.cert, agent, headers: { host: name } },
      (response) => {
        const socket = response.socket as TLSSocket;
        const { fingerprint256 } = socket.getPeerCertificate();
        const client = `${socket.localAddress}:${socket.localPort}`;
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (data) => {
          text += data;
        });
        response.on("error", reject);
        response.on("end", () => {
          if (fingerprint256 !== certificate.fingerprint) return reject(new Error("another backend's certificate"));
          resolve({ status: response.statusCode!, fingerprint: fingerprint256, client, body: JSON.parse(text) });
        });
      },
    );
    sent.on("error", reject);
    sent.end();
  });
}
