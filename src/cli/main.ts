#!/usr/bin/env node
import { bundledService } from "./bundle.js";
import { plainServe } from "./plain-serve.js";

const args = process.argv.slice(2);
const plain = plainServe(args);
if (plain === undefined) {
  const { run } = await import("./run.js");
  process.exitCode = await run(args);
} else {
  const { runService } = bundledService() ?? (await import("./service.js"));
  process.exitCode = await runService(plain);
}
