/** Programs that tests run beside Node: where they are, or which package to install. */
import { existsSync, statSync } from "node:fs";
import { delimiter, join } from "node:path";

/** Debian's package of each. */
const packages = {
  env: "coreutils",
  curl: "curl",
  openssl: "openssl",
  "gnutls-cli": "gnutls-bin",
  python3: "python3",
  go: "golang-go",
  h2load: "nghttp2-client",
  prlimit: "util-linux",
  ss: "iproute2",
  script: "bsdutils",
  setpriv: "util-linux",
  nsenter: "util-linux",
  unshare: "util-linux",
} as const;

/** The program's path; throws the sentence that says how to get it. */
export function program(name: keyof typeof packages): string {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    const path = join(folder || ".", name);
    if (existsSync(path) && statSync(path).isFile()) return path;
  }
  throw new Error(`this test needs ${name}, which is not in PATH: apt-get install ${packages[name]}`);
}
