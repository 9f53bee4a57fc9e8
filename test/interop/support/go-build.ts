/** Programs of examples/go, built with the go that is there. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { program } from "../../support/programs.js";
import { peersFolder } from "./peers.js";

const module = fileURLToPath(new URL("../../../examples/go", import.meta.url));

/** The path of a command in a folder of examples/go. It links no C library: it runs in any container, too. */
export function buildGo(folder: string): string {
  const binary = join(peersFolder, "examples", `go-${folder}`);
  execFileSync(program("go"), ["build", "-o", binary, `./${folder}`], {
    cwd: module,
    // The module depends on nothing, so that nothing is to be fetched.
    env: {
      ...process.env,
      CGO_ENABLED: "0",
      GOFLAGS: "-buildvcs=false",
      GOPROXY: "off",
      GOCACHE: join(peersFolder, "go-build"),
    },
    stdio: ["ignore", "ignore", "inherit"],
  });
  return binary;
}
