import { spawnSync } from "node:child_process";
import { python } from "./fixture.js";

/** Runs a command of sockets.py over descriptors that it gets as 3, 4, …; what it wrote, a line each. */
export function sockets(command: string, args: readonly (string | number)[], fds: readonly number[]): string[] {
  const run = spawnSync("python3", [python, command, ...args.map(String)], {
    stdio: ["ignore", "pipe", "pipe", ...fds],
    encoding: "utf8",
  });
  if (run.status !== 0) throw new Error(`sockets.py ${command}: ${run.stderr}`);
  return run.stdout.split("\n").filter((line) => line !== "");
}
