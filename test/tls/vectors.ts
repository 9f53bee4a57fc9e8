/** The captured hellos of vectors/*.hex. capture.mjs makes them. */

import { readdirSync, readFileSync } from "node:fs";

const folder = new URL("vectors/", import.meta.url);

export interface Vector {
  readonly name: string;
  /** The lines "# key: value" of its head: client, version, command, date. */
  readonly provenance: Readonly<Record<string, string>>;
  readonly bytes: Uint8Array;
}

export const vectors: readonly Vector[] = readdirSync(folder)
  .filter((file) => file.endsWith(".hex"))
  .map((file) => file.slice(0, -".hex".length))
  .sort()
  .map((name) => parse(name, readFileSync(new URL(`${name}.hex`, folder), "utf8")));

function parse(name: string, text: string): Vector {
  const lines = text.split("\n");
  const provenance = Object.fromEntries(
    lines
      .filter((line) => line.startsWith("# "))
      .map((line) =>
        line
          .slice(2)
          .split(/: (.*)/s)
          .slice(0, 2),
      ),
  );
  const hex = lines.filter((line) => !line.startsWith("#")).join("");
  if (!/^([0-9a-f]{2})*$/.test(hex)) throw new Error(`${name}.hex holds something that is not hex`);
  return { name, provenance, bytes: Uint8Array.from(Buffer.from(hex, "hex")) };
}
