/** Self-signed certificates, freshly made: each backend of a test has its own. */
import { generate } from "selfsigned";

export interface Certificate {
  readonly name: string;
  readonly cert: string;
  readonly key: string;
  /** SHA-256 of the certificate, as Node writes it: AB:CD:… */
  readonly fingerprint: string;
}

/** P-256, valid for `names` (the first is the common name). */
export async function certificate(...names: string[]): Promise<Certificate> {
  const [name] = names as [string];
  const made = await generate([{ name: "commonName", value: name }], {
    keyType: "ec",
    curve: "P-256",
    algorithm: "sha256",
    extensions: [
      { name: "basicConstraints", cA: true },
      { name: "subjectAltName", altNames: names.map((value) => ({ type: 2, value })) },
    ],
  });
  const { X509Certificate } = await import("node:crypto");
  return { name, cert: made.cert, key: made.private, fingerprint: new X509Certificate(made.cert).fingerprint256 };
}
