/** A file of captured packets as tcpdump writes it: the first bytes of so many TCP connections to port 443. */

/** LINKTYPE_RAW: packets begin with their IP header. https://www.tcpdump.org/linktypes.html */
const LINKTYPE_RAW = 101;
const HEADERS = 20 + 20;
/** An IPv4 packet has at most 65535 bytes. */
const SEGMENT = 60_000;

/** Connection `i` sends `streams[i]`. Which one a packet is of: streamOf(its source address). */
export function pcap(streams: readonly Uint8Array[]): Uint8Array {
  const head = Buffer.alloc(24);
  head.writeUInt32LE(0xa1b2c3d4, 0);
  head.writeUInt16LE(2, 4);
  head.writeUInt16LE(4, 6);
  head.writeUInt32LE(262_144, 16);
  head.writeUInt32LE(LINKTYPE_RAW, 20);
  const parts: Uint8Array[] = [head];
  for (const [index, bytes] of streams.entries()) {
    for (let at = 0; at < bytes.length; at += SEGMENT)
      parts.push(...packet(index, at, bytes.subarray(at, at + SEGMENT)));
  }
  return Buffer.concat(parts);
}

export function streamOf(address: string): number {
  const [, high, middle, low] = address.split(".").map(Number) as [number, number, number, number];
  return (high << 16) | (middle << 8) | low;
}

function packet(stream: number, sent: number, content: Uint8Array): Uint8Array[] {
  const length = HEADERS + content.length;
  const bytes = Buffer.alloc(16 + HEADERS);
  bytes.writeUInt32LE(1 + stream, 0);
  bytes.writeUInt32LE(length, 8);
  bytes.writeUInt32LE(length, 12);
  const ip = bytes.subarray(16);
  ip[0] = 0x45;
  ip.writeUInt16BE(length, 2);
  ip[8] = 64;
  ip[9] = 6;
  ip.set([10, stream >> 16, (stream >> 8) & 0xff, stream & 0xff], 12);
  ip.set([192, 0, 2, 1], 16);
  const tcp = ip.subarray(20);
  tcp.writeUInt16BE(40_000, 0);
  tcp.writeUInt16BE(443, 2);
  tcp.writeUInt32BE(1 + sent, 4);
  tcp.writeUInt32BE(1, 8);
  tcp[12] = 0x50;
  tcp[13] = 0x18; // PSH, ACK
  tcp.writeUInt16BE(65_535, 14);
  return [bytes, content];
}
