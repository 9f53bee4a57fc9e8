// Where Node's headers are.
import { existsSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";

/** The folder whose include/node has Node's headers, if this Node was installed with them: no download is needed. */
export function findHeaders() {
  const configured = process.env.npm_config_nodedir;
  const folder = configured || join(dirname(realpathSync(process.execPath)), "..");
  return configured || existsSync(join(folder, "include", "node", "node_api.h")) ? folder : undefined;
}
