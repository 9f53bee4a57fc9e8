/** The front door as a process of its own, started as an operator would. */
import type { ChildProcess } from "node:child_process";
import { createWriteStream, type WriteStream } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Children } from "./children.js";
import { within } from "./deadline.js";

const TIMEOUT = 15_000;

export class FrontDoor {
  readonly #children: Children;
  readonly #configurationFile: string;
  readonly #log: WriteStream;
  #child: ChildProcess | undefined;

  constructor(children: Children, configurationFile: string, logFile: string) {
    this.#children = children;
    this.#configurationFile = configurationFile;
    this.#log = createWriteStream(logFile);
  }

  get pid(): number {
    return this.#child!.pid!;
  }

  /** Resolves to the port once the front door says that it is ready. */
  async start(): Promise<number> {
    const main = fileURLToPath(new URL("../cli/main.js", import.meta.url));
    const child = this.#children.spawn(main, ["serve", "--config", this.#configurationFile]);
    this.#child = child;
    const ready = new Promise<number>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (status, signal) =>
        reject(new Error(`the front door ended (${signal ?? `status ${status}`})`)),
      );
      createInterface(child.stdout!).on("line", (line) => {
        this.#log.write(`${line}\n`);
        const port = readyPort(line);
        if (port !== undefined) resolve(port);
      });
    });
    return within(TIMEOUT, "the front door to be ready", ready);
  }

  /** As a crash would end it: nothing of it can do anything any more. */
  async kill(): Promise<void> {
    await this.#children.end(this.#child!, "SIGKILL");
  }
}

/** The port in the log line `{"event":"ready","listeners":["127.0.0.1:PORT"],…}`. */
function readyPort(line: string): number | undefined {
  let entry: { event?: string; listeners?: string[] };
  try {
    entry = JSON.parse(line);
  } catch {
    return undefined;
  }
  const port = /:(\d+)$/.exec(entry.event === "ready" ? (entry.listeners?.[0] ?? "") : "")?.[1];
  return port === undefined ? undefined : Number(port);
}
