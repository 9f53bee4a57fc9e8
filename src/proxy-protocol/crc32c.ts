/** CRC-32C (RFC 3720 appendix B.4): the checksum that a header of version 2 may carry (proxy-protocol.txt §2.2.4). */

const REFLECTED_POLYNOMIAL = 0x82f63b78;

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ ((value & 1) * REFLECTED_POLYNOMIAL);
  return value;
});

/** Of bytes[start..end), with the four bytes at `blank` taken as 0. */
export function crc32c(bytes: Uint8Array, start: number, end: number, blank: number): number {
  let crc = -1;
  for (let i = start; i < end; i++) {
    const byte = i >= blank && i < blank + 4 ? 0 : bytes[i]!;
    crc = table[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}
