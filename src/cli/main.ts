#!/usr/bin/env node
import { plainServe } from "./plain-serve.js";

const args = process.argv.slice(2);
const plain = plainServe(args);
if (plain === undefined) {
  const { run } = await import("./run.js");
  process.exitCode = await run(args);
} else {
  const { serve } = await import("./commands/serve.js");
  const { reportFailure } = await import("./exit.js");
  process.exitCode = await serve.run({ ...plain }).catch(reportFailure);
}
