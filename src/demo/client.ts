/** Clients of the demonstration: they connect to the front door, name a host, and trust only that host's certificate. */
import { once } from "node:events";
import type { ClientRequest, IncomingMessage } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { request } from "node:https";
import { connect, type TLSSocket } from "node:tls";
import type { Answer } from "./backend.js";
import type { Certificate } from "./certificates.js";
import { within } from "./deadline.js";

const TIMEOUT = 10_000;

export interface Exchange {
  readonly answer: Answer;
  /** The client's own address and port. */
  readonly client: string;
  /** SHA-256 of the certificate that the client was shown. */
  readonly fingerprint: string;
}

export interface Target {
  readonly port: number;
  readonly certificate: Certificate;
}

function tlsOptions({ port, certificate }: Target) {
  return { host: "127.0.0.1", port, servername: certificate.name, ca: certificate.pem };
}

/** A request for `/` in HTTP/1.1, on a connection of its own. */
export async function ask(target: Target): Promise<Exchange> {
  const response = await get(target, "/");
  let text = "";
  for await (const chunk of response.setEncoding("utf8")) text += chunk;
  return exchange(response.socket as TLSSocket, text);
}

/** A request for `/` in HTTP/2. */
export async function askHttp2(target: Target): Promise<Exchange> {
  const socket = connect({ ...tlsOptions(target), ALPNProtocols: ["h2"] });
  const session = connectHttp2(`https://${target.certificate.name}:${target.port}`, { createConnection: () => socket });
  try {
    const stream = session.request({ ":path": "/" }).setEncoding("utf8");
    let text = "";
    const read = async () => {
      for await (const chunk of stream) text += chunk;
    };
    await within(TIMEOUT, `an answer from ${target.certificate.name}`, Promise.race([read(), failed(session)]));
    return exchange(socket, text);
  } finally {
    session.destroy();
  }
}

/** Sends a request in HTTP/1.1; resolves when the answer's head is there. */
export async function get(target: Target, path: string): Promise<IncomingMessage> {
  const asked = request({
    ...tlsOptions(target),
    path,
    headers: { host: target.certificate.name, connection: "close" },
    agent: false,
  }).end();
  return within(TIMEOUT, `an answer from ${target.certificate.name}`, answerTo(asked));
}

async function answerTo(asked: ClientRequest): Promise<IncomingMessage> {
  const [response] = (await once(asked, "response")) as [IncomingMessage];
  return response;
}

/** The code of the error with which a client fails that asks for a name: the alert that it got. */
export async function refusal(port: number, servername: string): Promise<string> {
  const socket = connect({ host: "127.0.0.1", port, servername, rejectUnauthorized: false });
  try {
    const connected = once(socket, "secureConnect").then(() => "a connection");
    return await within(
      TIMEOUT,
      "a refusal",
      connected.catch((error: NodeJS.ErrnoException) => error.code ?? error.message),
    );
  } finally {
    socket.destroy();
  }
}

async function failed(emitter: NodeJS.EventEmitter): Promise<never> {
  const [error] = await once(emitter, "error");
  throw error;
}

function exchange(socket: TLSSocket, text: string): Exchange {
  return {
    answer: JSON.parse(text) as Answer,
    client: `${socket.localAddress}:${socket.localPort}`,
    fingerprint: socket.getPeerCertificate().fingerprint256,
  };
}
