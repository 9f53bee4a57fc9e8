/** The programs in programs/: a hello in, a line out. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Answer, Peer } from "./answer.js";

interface Asked {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
}

export class HelloProgram implements Peer {
  readonly name: string;
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #asked: Asked[] = [];
  #answered = 0;

  constructor(name: string, path: string) {
    this.name = name;
    this.#process = spawn(path, { stdio: "pipe" });
    let complaints = "";
    this.#process.stderr.on("data", (data) => {
      complaints += data;
    });
    this.#process.stdin.on("error", () => {}); // Its end says more.
    createInterface({ input: this.#process.stdout }).on("line", (line) => {
      this.#answered++;
      this.#asked.shift()?.resolve(parse(line));
    });
    const fail = (how: string) => {
      const error = new Error(`${name} ended (${how}) after ${this.#answered} hellos: ${complaints}`);
      for (const { reject } of this.#asked.splice(0)) reject(error);
    };
    this.#process.once("error", (error) => fail(error.message));
    this.#process.once("close", (status, signal) => fail(String(signal ?? status)));
  }

  ask(hellos: readonly Uint8Array[]): Promise<Answer[]> {
    const answers = hellos.map(() => new Promise<Answer>((resolve, reject) => this.#asked.push({ resolve, reject })));
    this.#process.stdin.write(Buffer.concat(hellos.flatMap((hello) => [length(hello), hello])));
    return Promise.all(answers);
  }

  async end(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    this.#process.stdin.end();
    await once(this.#process, "close");
  }
}

function length(hello: Uint8Array): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(hello.length);
  return bytes;
}

/** programs/openssl.c says how a line is made. */
function parse(line: string): Answer {
  const [status, ...words] = line.split("\t");
  if (status === "waits") return { status };
  if (status === "refuses") return { status, why: words.join(" ") };
  if (status !== "accepts" || words.length !== 2) throw new Error(`not an answer: ${line}`);
  const [name, alpn] = words as [string, string];
  return {
    status,
    name: name === "-" ? undefined : text(name),
    alpn: alpn === "?" ? undefined : alpn === "-" ? [] : alpn.split(",").map(text),
  };
}

function text(hex: string): string {
  return Buffer.from(hex, "hex").toString("latin1");
}
