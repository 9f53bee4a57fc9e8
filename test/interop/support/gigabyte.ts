/** Many bytes, no two blocks alike, and what they hash to at either end. */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";

const BLOCK = 256 * 1024;
const noise = randomBytes(BLOCK);

/** Writes so many bytes, as fast as the other side takes them. Resolves to their SHA-256 when the socket has them all. */
export async function pour(socket: Socket, bytes: number): Promise<string> {
  const hash = createHash("sha256");
  for (let sent = 0; sent < bytes; ) {
    const block = Buffer.from(noise.subarray(0, Math.min(BLOCK, bytes - sent)));
    // Lost, doubled or swapped blocks would hash alike without it.
    if (block.length >= 8) block.writeDoubleBE(sent);
    hash.update(block);
    sent += block.length;
    if (!socket.write(block)) await once(socket, "drain");
  }
  return hash.digest("hex");
}

/** Reads to the other side's end. */
export async function drink(socket: Socket): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash("sha256");
  let bytes = 0;
  socket.on("data", (data) => {
    hash.update(data);
    bytes += data.length;
  });
  await once(socket, "end");
  return { bytes, sha256: hash.digest("hex") };
}
