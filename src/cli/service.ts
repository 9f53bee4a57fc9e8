/** A service's command, once its line has been read (plain-serve.ts). */
import { isStaged } from "../daemon/stage.js";
import { startThreads } from "../daemon/threads.js";
import { serve } from "./commands/serve.js";
import { reportFailure } from "./exit.js";
import type { PlainServe } from "./plain-serve.js";

/** Never rejects; resolves to the exit status. */
export function runService(plain: PlainServe): Promise<number> {
  // They load their modules while `serve` loads its own.
  startThreads(plain.config, isStaged());
  return serve.run({ ...plain }).catch(reportFailure);
}
