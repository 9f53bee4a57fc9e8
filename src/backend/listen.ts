/**
 * `node --import sni-handoff/listen app.js`: the ports that SNI_HANDOFF names are received from a front door. Without
 * the variable nothing is changed.
 */
import { hookListen } from "./listen-hook.js";
import { parseListenVariable, VARIABLE } from "./listen-variable.js";

const rules = parseListenVariable(process.env[VARIABLE]);
if (rules.length > 0) hookListen(rules, (line) => process.stderr.write(`sni-handoff: ${line}\n`));
