/** Go programs, built with the go that is there. */
import { execFile, execFileSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { program } from "../../support/programs.js";
import { peersFolder } from "./peers.js";

const example = fileURLToPath(new URL("../../../examples/go", import.meta.url));

// Without a C library a program runs in any container.
const env = { ...process.env, CGO_ENABLED: "0", GOFLAGS: "-buildvcs=false", GOCACHE: join(peersFolder, "go-build") };
/** examples/go depends on nothing, so that nothing is to be fetched. */
const alone = { cwd: example, env: { ...env, GOPROXY: "off" } };

/** The path of a command in a folder of examples/go. */
export function buildGo(folder: string): string {
  return build(folder, `./${folder}`, alone);
}

/** The path of the command that is a module in a folder of test/interop/fixtures. */
export function buildGoFixture(name: string): string {
  return buildGoModule(name, fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url)));
}

/** The path of the command that is a module in `folder`. */
export function buildGoModule(name: string, folder: string): string {
  return build(name, ".", { cwd: folder, env });
}

function build(name: string, source: string, options: { cwd: string; env: NodeJS.ProcessEnv }): string {
  const binary = join(peersFolder, "examples", `go-${name}`);
  execFileSync(program("go"), ["build", "-o", binary, source], { ...options, stdio: ["ignore", "ignore", "inherit"] });
  return binary;
}

/** Rejects with what `go vet` and `go test` say of examples/go. */
export async function testGo(): Promise<void> {
  for (const command of [["vet"], ["test", "-count=1", "-timeout=120s"]]) {
    await promisify(execFile)(program("go"), [...command, "./..."], alone).catch(({ stdout, stderr }) => {
      throw new Error(`go ${command.join(" ")}:\n${stdout}${stderr}`);
    });
  }
}
