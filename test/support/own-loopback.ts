/** An address of the loopback that no other test has: ports there are not taken by whoever is given any on 127.0.0.1. */
export const ownLoopback = `127.${64 + (process.pid % 64)}.${(process.pid >> 6) % 256}.1`;
