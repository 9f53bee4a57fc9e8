/** Every command, in the order of the help. */
import type { Command } from "../command.js";
import { bench } from "./bench.js";
import { check } from "./check.js";
import { completion } from "./completion.js";
import { conform } from "./conform.js";
import { demo } from "./demo.js";
import { explain } from "./explain.js";
import { importing } from "./import.js";
import { man } from "./man.js";
import { drain, logLevel, reload, stop, undrain, upgrade } from "./orders.js";
import { preload } from "./preload.js";
import { relay } from "./relay.js";
import { schema } from "./schema.js";
import { serve } from "./serve.js";
import { status } from "./status.js";

export const commands: readonly Command[] = [
  serve,
  relay,
  check,
  explain,
  status,
  drain,
  undrain,
  reload,
  upgrade,
  stop,
  logLevel,
  importing,
  conform,
  preload,
  schema,
  completion,
  man,
  demo,
  bench,
];
