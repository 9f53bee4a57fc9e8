/** tlsrouter (Go, of inetaf/tcpproxy): rules are regular expressions, tried from the first one on. It reads them once. */
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { nameOf } from "../names.mjs";
import { makePeer } from "./peer.mjs";

const MODULE = "github.com/inetaf/tcpproxy";
const VERSION = "v0.0.0-20260515195445-c159a6051109";

/** @param {import("./peer.mjs").Target} target */
const configuration = ({ target, names, wildcards }) =>
  Array.from({ length: names }, (_, i) => `${wildcards ? "*." : ""}${nameOf(i)} ${target}\n`).join("");

export const tlsrouter = makePeer({
  ...{ name: "tlsrouter", title: "tlsrouter (Go)", program: "tlsrouter", package: "" },
  install: `go install ${MODULE}/cmd/tlsrouter@${VERSION} (in a clone: bash test/interop/install.sh tlsrouter)`,
  // It has no option for that; Go keeps it in each program (debug/buildinfo).
  versionOf: (path) =>
    `tlsrouter ${/\tgithub\.com\/inetaf\/tcpproxy\t(v\S+)/.exec(readFileSync(path, "latin1"))?.[1] ?? "(unknown)"}`,
  ...{ mostNames: 1000, wildcards: true },
  // Go splices: a pipe for each direction, which it keeps while it waits.
  descriptors: 6,
  // One thread for connections, as the others have one.
  environment: { GOMAXPROCS: "1" },
  configuration: (target) =>
    `GOMAXPROCS=1 tlsrouter -listen ${target.listen} -conf FILE 2>/dev/null\n${configuration(target)}`,
  async configure(target) {
    const file = join(target.folder, "tlsrouter.conf");
    await writeFile(file, configuration(target));
    return ["tlsrouter", "-listen", target.listen, "-conf", file];
  },
  // It logs three lines a connection, and cannot be told not to.
  silenced: true,
});
