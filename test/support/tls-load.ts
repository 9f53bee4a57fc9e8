/** Real TLS clients in a closed loop, in a process of their own: test/fixtures/tls-load.mjs. */
import { fileURLToPath } from "node:url";
import { Child } from "./child.js";

const program = fileURLToPath(new URL("../fixtures/tls-load.mjs", import.meta.url));

export interface LoadStart {
  readonly port: number;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** The certificate, or authority, that each answer must come from. */
  readonly ca: string;
  readonly names: readonly string[];
  /** Default 64. */
  readonly clients?: number;
  /** Milliseconds between two requests of a client. Default 0. */
  readonly pause?: number;
}

/** What the clients saw. Times in milliseconds. */
export interface LoadSummary {
  readonly requests: number;
  readonly failed: number;
  /** How often each error came. */
  readonly failures: Readonly<Record<string, number>>;
  /** The slowest request, from connect to the end of its answer. */
  readonly longest: number;
  readonly p50: number;
  readonly p99: number;
}

export class TlsLoad {
  private readonly child: Child;
  private marks = 0;

  private constructor(child: Child) {
    this.child = child;
  }

  /** Resolves after the first answer. */
  static async start({ clients = 64, ...rest }: LoadStart): Promise<TlsLoad> {
    const argument = JSON.stringify({ clients, ...rest });
    const load = new TlsLoad(new Child(process.execPath, [program, argument], { stdio: ["pipe", "pipe", "pipe"] }));
    await load.child.line("the first answer", (line) => line === '{"begun":true}');
    return load;
  }

  /** What was since the last call, once that are at least so many requests. */
  async mark(requests = 0): Promise<LoadSummary> {
    this.child.process.stdin!.write(`${requests}\n`);
    return this.nextMark();
  }

  /** Ends the clients when their requests are answered: what was from the start. */
  async stop(): Promise<LoadSummary> {
    this.child.process.kill("SIGTERM");
    const summary = await this.nextMark();
    await this.child.ended;
    return summary;
  }

  private nextMark(): Promise<LoadSummary> {
    const wanted = ++this.marks;
    return this.child.line("the clients' summary", () => {
      const marks = this.child.lines.filter((line) => line.startsWith('{"mark"'));
      return marks.length >= wanted && (JSON.parse(marks[wanted - 1]!).mark as LoadSummary);
    });
  }
}
