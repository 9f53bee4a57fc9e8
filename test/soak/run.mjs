#!/usr/bin/env node
// npm run soak -- [--minutes N] [--seed S]: everything at once for that long, then figures. Status 0 if all held.
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const usage =
  "npm run soak -- [--minutes N (default 10, at least 0.5)] [--seed S (a whole number; default: by chance)]";
const here = dirname(fileURLToPath(import.meta.url));

function settings() {
  try {
    const { values } = parseArgs({ options: { minutes: { type: "string" }, seed: { type: "string" } } });
    const minutes = Number(values.minutes ?? 10);
    const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 32));
    if (!(minutes >= 0.5 && minutes <= 10_000)) throw new Error(`--minutes ${values.minutes}: not from 0.5 to 10000`);
    if (!(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32)) {
      throw new Error(`--seed ${values.seed}: not a whole number below 2^32`);
    }
    return { minutes, seed };
  } catch (error) {
    console.error(`${error.message}\n${usage}`);
    process.exit(2);
  }
}

const { minutes, seed } = settings();
const vitest = join(dirname(createRequire(import.meta.url).resolve("vitest/package.json")), "vitest.mjs");
const child = spawn(process.execPath, [vitest, "run", "--config", join(here, "vitest.config.ts")], {
  stdio: "inherit",
  env: { ...process.env, SOAK_MINUTES: `${minutes}`, SOAK_SEED: `${seed}` },
});
child.on("close", (status, signal) => {
  process.exitCode = signal === null ? status : 1;
});
