/** Names this platform as the folders of native/prebuilt/ are called: "linux-x64-glibc". CommonJS, for src/built.ts and build.mjs alike. */
const { closeSync, openSync, readSync } = require("node:fs");

/** elf(5), of 64-bit little-endian programs. */
const MAGIC = 0x464c457f;
const PT_INTERP = 3;

/** Undefined where none of them can fit: a Node without a dynamic loader, or with one that nobody knows. */
function platformName() {
  const libc = libcOf(loaderOf(process.execPath));
  return libc && `${process.platform}-${process.arch}-${libc}`;
}

function libcOf(loader) {
  if (/\/ld-musl-[^/]*$/.test(loader)) return "musl";
  return /\/ld(64)?[-.][^/]*$/.test(loader) ? "glibc" : undefined;
}

/** The dynamic loader that a program names (PT_INTERP); "" if it names none. */
function loaderOf(file) {
  const descriptor = openSync(file, "r");
  const read = (position, length) => {
    const bytes = Buffer.alloc(length);
    return bytes.subarray(0, readSync(descriptor, bytes, 0, length, position));
  };
  try {
    const head = read(0, 64);
    if (head.length < 64 || head.readUInt32LE(0) !== MAGIC || head[4] !== 2 || head[5] !== 1) return "";
    const size = head.readUInt16LE(54);
    const table = read(Number(head.readBigUInt64LE(32)), size * head.readUInt16LE(56));
    for (let at = 0; at + 56 <= table.length; at += size) {
      if (table.readUInt32LE(at) !== PT_INTERP) continue;
      const length = Math.min(Number(table.readBigUInt64LE(at + 32)), 4096);
      return read(Number(table.readBigUInt64LE(at + 8)), length)
        .toString("latin1")
        .replace(/\0.*$/s, "");
    }
    return "";
  } finally {
    closeSync(descriptor);
  }
}

module.exports = { libcOf, loaderOf, platformName };
