/** What the kernel says of this process: /proc/self/status, proc(5). */
import { readFileSync } from "node:fs";

export interface ProcessStatus {
  /** Effective. */
  readonly uid: number;
  readonly gid: number;
  /** Effective; hexadecimal. */
  readonly capabilities: string;
  readonly noNewPrivileges: boolean;
}

export function processStatus(): ProcessStatus {
  return parseProcessStatus(readFileSync("/proc/self/status", "utf8"));
}

export function parseProcessStatus(text: string): ProcessStatus {
  const fields = new Map(text.split("\n").map((line) => line.split(":\t") as [string, string]));
  // Real, effective, saved, file system.
  const effective = (name: string) => Number(fields.get(name)?.split("\t")[1]);
  return {
    uid: effective("Uid"),
    gid: effective("Gid"),
    capabilities: fields.get("CapEff") ?? "0",
    noNewPrivileges: fields.get("NoNewPrivs") === "1",
  };
}
