/** The captured headers of vectors/*.hex, with what the client sent behind them. capture.mjs makes them. */
import { readdirSync, readFileSync } from "node:fs";

const folder = new URL("vectors/", import.meta.url);

export interface Vector {
  readonly name: string;
  /** The lines "# key: value" of its head: program, version, setting, date. */
  readonly provenance: Readonly<Record<string, string>>;
  readonly bytes: Buffer;
}

export const vectors: readonly Vector[] = readdirSync(folder)
  .filter((file) => file.endsWith(".hex"))
  .sort()
  .map((file) => {
    const lines = readFileSync(new URL(file, folder), "utf8").split("\n");
    const head = lines.filter((line) => line.startsWith("# ")).map((line) => line.slice(2).split(/: (.*)/s, 2));
    const hex = lines.filter((line) => !line.startsWith("#")).join("");
    return { name: file.slice(0, -4), provenance: Object.fromEntries(head), bytes: Buffer.from(hex, "hex") };
  });
