import type { Command } from "../command.js";
import { controlPath, daemonOptions } from "../control.js";
import { ExitStatus, usageError } from "../exit.js";

/** Seconds. */
const SHORTEST = 0.1;
const LONGEST = 3600;

export const status: Command = {
  usage: "status",
  describe: "Show what a running daemon does: workers, backends, instances, counters",
  options: {
    ...daemonOptions,
    relay: {
      type: "boolean",
      describe: "Of the relay, its targets; the control socket is the relay's, or that of its door. Default: false",
    },
    json: { type: "boolean", describe: "JSON instead of text, with all that there is. Default: false" },
    watch: {
      alias: "w",
      type: "boolean",
      describe: "Again and again, with rates, until q or Ctrl-C. Default: false",
    },
    interval: {
      type: "number",
      requiresArg: true,
      nargs: 1,
      describe: `Seconds between two looks of --watch, ${SHORTEST} to ${LONGEST}. Default: 1`,
    },
  },
  examples: [
    ["$0 status --watch", ""],
    ["$0 status --json | jq .backends", ""],
    ["$0 status --relay --config front-door.yaml", ""],
  ],
  async run(args) {
    const { interval = 1 } = args as { interval?: number };
    if (args.interval !== undefined && args.watch !== true) throw usageError("--interval is for --watch");
    if (!(interval >= SHORTEST && interval <= LONGEST)) {
      throw usageError(`--interval takes seconds from ${SHORTEST} to ${LONGEST}`);
    }
    if (args.relay === true && args.watch === true) throw usageError("--watch is not for --relay");
    const json = args.json === true;
    if (args.relay === true) {
      await showRelay(args, json);
      return ExitStatus.DONE;
    }
    const control = await controlPath(args);
    if (args.watch === true) {
      const { watchStatus } = await import("../status/watch.js");
      await watchStatus({ control, interval: interval * 1000, json });
      return ExitStatus.DONE;
    }
    const { askStatus } = await import("../../daemon/control/client.js");
    const found = await askStatus(control);
    if (json) {
      process.stdout.write(`${JSON.stringify(found, null, 2)}\n`);
      return ExitStatus.DONE;
    }
    const { renderStatus } = await import("../status/render.js");
    const lines = renderStatus({ status: found, at: 0 }, { width: process.stdout.columns || 80 });
    process.stdout.write(`${lines.join("\n")}\n`);
    return ExitStatus.DONE;
  },
};

async function showRelay(args: Readonly<Record<string, unknown>>, json: boolean): Promise<void> {
  const { askRelayStatus } = await import("../../daemon/control/client.js");
  const status = await askRelayStatus(await relayControlPath(args));
  if (json) {
    process.stdout.write(`${JSON.stringify(status, null, 2)}\n`);
    return;
  }
  const { renderRelayStatus } = await import("../status/relay.js");
  process.stdout.write(`${renderRelayStatus(status, process.stdout.columns || 80).join("\n")}\n`);
}

/** --control may be the relay's own; --config names it even if no door runs; else the door says. */
async function relayControlPath(args: Readonly<Record<string, unknown>>): Promise<string> {
  if (typeof args.config === "string" && args.control === undefined) {
    const { loadRelay } = await import("../../daemon/configuration/load-relay.js");
    const { relayControl } = await import("../../daemon/configuration/relay.js");
    return relayControl((await loadRelay(args.config)).relay);
  }
  const { askStatus, isRelay } = await import("../../daemon/control/client.js");
  const control = await controlPath(args);
  return (await isRelay(control)) ? control : (await askStatus(control)).relay.control;
}
