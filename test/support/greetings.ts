/** Clients of programs that tell each client its address, over a connection for each request. */
import * as http2 from "node:http2";
import * as https from "node:https";
import type { Socket } from "node:net";
import { body } from "./body.js";

export interface Greeting {
  readonly status: number;
  readonly text: string;
  /** The client's own end of the connection. */
  readonly client: string;
}

/** Whom to ask, and by which name. */
export interface Place {
  readonly port: number;
  readonly name: string;
  readonly cert: string;
}

const own = ({ localAddress, localPort }: Socket) => `${localAddress}:${localPort}`;

/** By HTTP/1.1. Fails unless the certificate is right. */
export function ask({ port, name, cert }: Place, path = "/"): Promise<Greeting> {
  const options = { host: "127.0.0.1", port, path, servername: name, ca: cert, agent: false, headers: { host: name } };
  return new Promise((resolve, reject) => {
    const request = https.get(options, (response) => {
      const client = own(response.socket);
      body(response).then((text) => resolve({ status: response.statusCode!, text, client }), reject);
    });
    request.on("error", reject);
  });
}

/** By HTTP/2. */
export function askHttp2({ port, name, cert }: Place, path = "/"): Promise<Greeting> {
  return new Promise((resolve, reject) => {
    const session = http2.connect(`https://127.0.0.1:${port}`, { servername: name, ca: cert });
    session.on("error", reject);
    session.once("connect", () => {
      const client = own(session.socket);
      const stream = session.request({ ":path": path, ":authority": name });
      stream.on("error", reject);
      stream.once("response", (headers) =>
        body(stream).then((text) => {
          session.close();
          resolve({ status: headers[":status"]!, text, client });
        }, reject),
      );
    });
  });
}

/** Requests, some at a time, as long as more are `wanted` after so many; resolves to their answers. */
export async function many<T>(wanted: (asked: number) => boolean, atOnce: number, one: () => Promise<T>): Promise<T[]> {
  const answers: T[] = [];
  let asked = 0;
  const lane = async () => {
    while (wanted(asked++)) answers.push(await one());
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return answers;
}
