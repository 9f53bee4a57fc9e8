/**
 * npm run differential -- [--hellos N] [--seed N] [--from INDEX] [PEER…]: generated hellos, read by us and by each peer
 * (openssl, go, rustls, tshark; all without names). Exit status 0: no disagreement without a reason.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const PEERS = ["openssl", "go", "rustls", "tshark"];
const usage = "usage: npm run differential -- [--hellos N] [--seed N] [--from INDEX] [openssl|go|rustls|tshark …]";

function whole(option, text) {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new Error(`--${option} ${text}: a whole number is wanted`);
}

let options;
try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { hellos: { type: "string" }, seed: { type: "string" }, from: { type: "string" } },
  });
  const unknown = positionals.find((name) => !PEERS.includes(name));
  if (unknown !== undefined) throw new Error(`no peer is called ${unknown}`);
  options = {
    hellos: whole("hellos", values.hellos ?? "100000"),
    seed: whole("seed", values.seed ?? String(Math.floor(Math.random() * 2 ** 32))),
    from: whole("from", values.from ?? "0"),
    names: positionals.length > 0 ? positionals : PEERS,
  };
} catch (error) {
  console.error(`${error.message}\n${usage}`);
  process.exit(2);
}

const root = fileURLToPath(new URL("../..", import.meta.url));
const { status } = spawnSync(
  process.execPath,
  [
    `${root}node_modules/vitest/vitest.mjs`,
    "run",
    "--config",
    "test/interop/vitest.config.ts",
    "test/differential",
    "-t",
    "^generated hellos",
  ],
  { cwd: root, stdio: "inherit", env: { ...process.env, SNI_HANDOFF_DIFFERENTIAL: JSON.stringify(options) } },
);
process.exitCode = status ?? 1;
