/** `status --watch`: a status again and again; on a terminal in place, like top(1). */
import { setTimeout as wait } from "node:timers/promises";
import { askStatus } from "../../daemon/control/client.js";
import { HandoffError } from "../../errors.js";
import { renderStatus, type Sample } from "./render.js";
import { Screen } from "./screen.js";
import { labelled, shorten } from "./text.js";

/** How long a daemon may take to answer before that is said. Milliseconds. */
const PATIENCE = 5000;

export interface WatchOptions {
  readonly control: string;
  /** Milliseconds. */
  readonly interval: number;
  /** A JSON object a line instead of text. */
  readonly json: boolean;
}

/** What there is to show: a status and the one before it, or why there is none. */
export type View = { readonly sample: Sample; readonly previous: Sample | undefined } | { readonly absent: string };

/** Until q, Ctrl-C, SIGTERM, or the end of whoever reads. */
export async function watchStatus(options: WatchOptions): Promise<void> {
  const ended = new AbortController();
  const end = () => ended.abort();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, end);
  // EPIPE: the reader is gone.
  process.stdout.on("error", end);
  const onTerminal = process.stdout.isTTY === true && process.env.TERM !== "dumb" && !options.json;
  if (onTerminal) await watchOnScreen(options, ended);
  else await watchAsText(options, ended.signal);
}

async function watchOnScreen(options: WatchOptions, ended: AbortController): Promise<void> {
  let view: View = { absent: `asking ${options.control}` };
  const screen = new Screen({
    render: (width, height) => frame(view, options, width, height),
    quit: () => ended.abort(),
  });
  try {
    for await (view of views(options, ended.signal)) screen.draw();
  } finally {
    screen.close();
  }
}

async function watchAsText(options: WatchOptions, ended: AbortSignal): Promise<void> {
  for await (const view of views(options, ended)) {
    if ("absent" in view) process.stderr.write(`no daemon, trying again: ${view.absent}\n`);
    else if (options.json) process.stdout.write(`${JSON.stringify(view.sample.status)}\n`);
    else process.stdout.write(`${textOf(view, process.stdout.columns || 80).join("\n")}\n\n`);
  }
}

/** One each interval, until `ended`. */
async function* views({ control, interval }: WatchOptions, ended: AbortSignal): AsyncGenerator<View> {
  let previous: Sample | undefined;
  for (;;) {
    const begun = performance.now();
    let view: View | undefined;
    try {
      const status = await askStatus(control, { timeout: Math.max(interval, PATIENCE), signal: ended });
      view = { sample: { status, at: performance.now() }, previous };
    } catch (error) {
      if (!ended.aborted) {
        if (!(error instanceof HandoffError) || error.code !== "ERR_CONTROL") throw error;
        view = { absent: error.message };
      }
    }
    if (ended.aborted || view === undefined) return;
    previous = "sample" in view ? view.sample : undefined;
    yield view;
    try {
      await wait(Math.max(0, interval - (performance.now() - begun)), undefined, { signal: ended });
    } catch {
      return;
    }
  }
}

/** A screenful: at most `height` lines of at most `width` characters. */
export function frame(view: View, { control, interval }: WatchOptions, width: number, height: number): string[] {
  const head = shorten(`every ${interval / 1000} s; q quits`, width);
  if ("absent" in view) return [head, "", ...absence(control, view.absent, width)].slice(0, height);
  const lines = [head, ...textOf(view, width)];
  if (lines.length <= height) return lines;
  const shown = Math.max(0, height - 1);
  return [...lines.slice(0, shown), shorten(`… ${lines.length - shown} more lines: a higher window shows them`, width)];
}

function textOf(view: Exclude<View, { absent: string }>, width: number): string[] {
  return renderStatus(view.sample, { width, previous: view.previous, brief: true });
}

function absence(control: string, reason: string, width: number): string[] {
  return [shorten(`no daemon behind ${control}, trying again`, width), ...labelled("", [reason], width, 2)];
}
