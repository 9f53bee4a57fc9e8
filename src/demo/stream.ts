/** Bytes that both sides can make by themselves, so that a download's SHA-256 is known beforehand. */
import { createCipheriv, createHash } from "node:crypto";

const CHUNK_BYTES = 1 << 20;

/** The first `length` bytes of an AES-CTR key stream: the same every time, and no two parts alike. */
export function* keyStream(length: number): Generator<Buffer> {
  const cipher = createCipheriv("aes-128-ctr", Buffer.alloc(16), Buffer.alloc(16));
  const zeros = Buffer.alloc(CHUNK_BYTES);
  for (let left = length; left > 0; left -= CHUNK_BYTES)
    yield cipher.update(zeros.subarray(0, Math.min(left, CHUNK_BYTES)));
}

export function keyStreamSha256(length: number): string {
  const hash = createHash("sha256");
  for (const chunk of keyStream(length)) hash.update(chunk);
  return hash.digest("hex");
}
