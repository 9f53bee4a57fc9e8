/** Raw bytes as the beginning of a connection to a listener for HTTP. */

import { checkHead } from "../oracles/request-head.js";
import { textSeeds } from "../seeds.js";

export function fuzz(data: Uint8Array): void {
  checkHead(data);
}

const FIELDS = "Host: app.example.com\r\nAccept: */*\r\n\r\n";

export const seeds = (): Uint8Array[] =>
  textSeeds(
    `GET / HTTP/1.1\r\n${FIELDS}`,
    `GET /a?b=c%20d HTTP/1.1\r\nhOST:\t[2001:db8::1]:8080 \r\n\r\n`,
    `POST http://b.example:80/x HTTP/1.1\r\n${FIELDS}`,
    `OPTIONS * HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n`,
    `CONNECT app.example.com:443 HTTP/1.1\r\n${FIELDS}`,
    `GET /.well-known/acme-challenge/token HTTP/1.0\r\n\r\n`,
    `\r\nGET https://a.example. HTTP/1.1\r\nHost:\r\n\r\n`,
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    `GET / HTTP/1.1\r\n folded: x\r\n${FIELDS}`,
    `GET / HTTP/1.1\r\nHost : a\r\nHost: b\r\n\r\n`,
  );

export const words = [
  "HTTP/1.1",
  "Host:",
  "host: ",
  "\r\n",
  "\r\n\r\n",
  "http://",
  "https://",
  "CONNECT ",
  "[::1]",
  ":443",
];
