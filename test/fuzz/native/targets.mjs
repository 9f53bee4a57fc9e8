/** The C targets: what each is made of, and its compilation with libFuzzer and sanitizers, kept between runs. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const here = dirname(fileURLToPath(import.meta.url));
const native = join(here, "..", "..", "..", "native");
const compiled = join(process.env.SNI_HANDOFF_PEERS ?? join(homedir(), ".cache", "sni-handoff-peers"), "fuzz");

const preload = (...names) => names.map((name) => join(native, "preload", `${name}.c`));
const addon = (...names) => names.map((name) => join(native, `${name}.c`));
const wrapped = (...names) => names.map((name) => `-Wl,--wrap=${name}`);

/**
 * By name: `sources` beside NAME.c; `flags` of the linker; `longest` input in bytes; `memory`: it can be built with
 * MemorySanitizer, which finds what is used without having been written.
 */
export const targets = {
  environment: { sources: preload("environment", "address"), longest: 1024, memory: true },
  address: { sources: preload("address", "identity"), longest: 160, memory: true },
  protocol: { sources: preload("address", "helper/protocol"), longest: 1100, memory: true },
  "tcp-address": { sources: addon("tcp_address"), longest: 160, memory: true },
  "unix-address": {
    sources: addon("unix_socket"),
    flags: wrapped("connect", "bind", "unlink"),
    longest: 4200,
    memory: true,
  },
  messages: { sources: addon("messages", "tcp_state", "closer"), flags: ["-pthread"], longest: 4096, memory: true },
  splicer: { sources: addon("splicer", "tcp_dial", "tcp_state"), longest: 512, memory: true },
  accepting: {
    sources: preload(
      "accepting",
      "names",
      "told",
      "epolled",
      "identity",
      "address",
      "real",
      "lock",
      "listeners",
      "environment",
    ),
    flags: [...wrapped("nanosleep"), "-ldl", "-pthread"],
    longest: 512,
  },
  helper: {
    sources: preload("helper/channels", "helper/receivers", "helper/returned", "helper/protocol", "helper/closing"),
    longest: 1024,
    memory: true,
  },
  receiver: { sources: [], longest: 1024, memory: true },
};

/** What a target is compiled with, whatever runs it: files, and flags of the compiler and the linker. */
export function ingredients(name) {
  const { sources, flags = [] } = targets[name];
  const warnings = ["-Wall", "-Wextra", "-Werror"];
  return {
    files: [join(here, `${name.replace("-", "_")}.c`), ...sources],
    flags: ["-std=gnu11", "-D_GNU_SOURCE", "-g", "-O1", ...warnings, ...flags],
  };
}

const sanitizers = { address: "fuzzer,address,undefined", memory: "fuzzer,memory" };

/** Every file that one of the targets may be made of. */
function allFiles() {
  const folders = [here, native, join(native, "preload"), join(native, "preload", "helper")];
  const files = folders.flatMap((folder) =>
    readdirSync(folder)
      .filter((name) => /\.[ch]$/.test(name))
      .map((name) => join(folder, name)),
  );
  return [...files, join(native, "..", "examples", "c", "sni_handoff.h"), fileURLToPath(import.meta.url)];
}

/** Compiles a target; its program's path. `kind`: "address" (with UndefinedBehaviorSanitizer) or "memory". */
export async function compile(name, kind = "address") {
  const digest = createHash("sha256");
  for (const file of allFiles()) digest.update(readFileSync(file));
  const program = join(compiled, `${name}-${kind}-${digest.digest("hex").slice(0, 16)}`);
  if (existsSync(program)) return program;
  mkdirSync(compiled, { recursive: true });
  const { files, flags } = ingredients(name);
  const sanitizer = ["-fno-omit-frame-pointer", `-fsanitize=${sanitizers[kind]}`, "-fno-sanitize-recover=all"];
  const aside = `${program}.${process.pid}`;
  try {
    await promisify(execFile)("clang", [...sanitizer, "-o", aside, ...files, ...flags]);
  } catch (error) {
    const isMissing = error.code === "ENOENT" || /libclang_rt/.test(error.stderr);
    if (!isMissing) throw error;
    throw new Error("the C targets need clang with libFuzzer: bash test/interop/install.sh libfuzzer", {
      cause: error,
    });
  }
  renameSync(aside, program);
  return program;
}
