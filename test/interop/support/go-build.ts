/** Programs of examples/go, built with the go that is there. */
import { execFile, execFileSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { program } from "../../support/programs.js";
import { peersFolder } from "./peers.js";

const options = {
  cwd: fileURLToPath(new URL("../../../examples/go", import.meta.url)),
  // The module depends on nothing, so that nothing is to be fetched. Without a C library a program runs in any container.
  env: {
    ...process.env,
    CGO_ENABLED: "0",
    GOFLAGS: "-buildvcs=false",
    GOPROXY: "off",
    GOCACHE: join(peersFolder, "go-build"),
  },
};

/** The path of a command in a folder of examples/go. */
export function buildGo(folder: string): string {
  const binary = join(peersFolder, "examples", `go-${folder}`);
  execFileSync(program("go"), ["build", "-o", binary, `./${folder}`], {
    ...options,
    stdio: ["ignore", "ignore", "inherit"],
  });
  return binary;
}

/** Rejects with what `go vet` and `go test` say. */
export async function testGo(): Promise<void> {
  for (const command of [["vet"], ["test", "-count=1", "-timeout=120s"]]) {
    await promisify(execFile)(program("go"), [...command, "./..."], options).catch(({ stdout, stderr }) => {
      throw new Error(`go ${command.join(" ")}:\n${stdout}${stderr}`);
    });
  }
}
