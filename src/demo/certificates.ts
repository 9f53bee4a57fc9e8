/** A key and a self-signed certificate for each backend: nobody but the backend has its key. */
import { X509Certificate } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { generate } from "selfsigned";

export interface Certificate {
  /** The host name that it is for. */
  readonly name: string;
  readonly keyFile: string;
  readonly certificateFile: string;
  readonly pem: string;
  /** SHA-256 of the certificate, as Node and openssl print it. */
  readonly fingerprint: string;
}

/** Writes `<label>.key.pem` and `<label>.pem` into the folder. */
export async function createCertificate(folder: string, label: string, name: string): Promise<Certificate> {
  const { private: key, cert: pem } = await generate([{ name: "commonName", value: name }], {
    keyType: "ec",
    algorithm: "sha256",
    notAfterDate: new Date(Date.now() + 24 * 3600 * 1000),
    extensions: [
      { name: "basicConstraints", cA: true, critical: true },
      { name: "subjectAltName", altNames: [{ type: 2, value: name }] },
    ],
  });
  const keyFile = join(folder, `${label}.key.pem`);
  const certificateFile = join(folder, `${label}.pem`);
  await writeFile(keyFile, key, { mode: 0o600 });
  await writeFile(certificateFile, pem);
  return { name, keyFile, certificateFile, pem, fingerprint: new X509Certificate(pem).fingerprint256 };
}
