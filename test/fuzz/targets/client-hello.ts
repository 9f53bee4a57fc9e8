/** Raw bytes as the beginning of a TLS connection. */

import { malformedHellos } from "../../support/malformed-hellos.js";
import { vectors } from "../../tls/vectors.js";
import { checkHello } from "../oracles/client-hello.js";

export function fuzz(data: Uint8Array): void {
  checkHello(data);
}

export const seeds = (): Uint8Array[] => [...vectors.map(({ bytes }) => bytes), ...Object.values(malformedHellos)];
