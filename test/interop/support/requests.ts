/** The benchmark's clients (bench/requests.c) as a load: a request a connection, or kept connections; every one is accounted for. */
import { compileRequests } from "../../../bench/compile.mjs";
import { Child } from "../../support/child.js";

export interface RequestsStart {
  readonly port: number;
  readonly name: string;
  /** Default 32. */
  readonly clients?: number;
  /** One request after the other on a connection; otherwise one each. */
  readonly keep?: boolean;
  /** How many client addresses, from 127.64.0.1 on. Default 100. */
  readonly sources?: number;
  /** What every answer ends with. */
  readonly ending: string;
}

/** What the clients saw from the first request to the last. */
export interface RequestsSummary {
  readonly completed: number;
  readonly connections: number;
  readonly failed: number;
  readonly failures: Readonly<Record<string, number>>;
}

/** Longer than any test. */
const SECONDS = 3600;

export class Requests {
  private readonly child: Child;

  private constructor(child: Child) {
    this.child = child;
  }

  /** Resolves when the clients have begun. */
  static async start(start: RequestsStart): Promise<Requests> {
    const { port, name, clients = 32, keep = false, sources = 100, ending } = start;
    const { path, hasTls } = await compileRequests();
    if (!hasTls) throw new Error("this test needs OpenSSL's headers: apt-get install libssl-dev");
    const options = ["-s", name, "-c", clients, "-a", sources, "-e", ending, "-d", SECONDS, "-w", 0];
    const child = new Child(path, [...options.map(String), ...(keep ? ["-k"] : []), `127.0.0.1:${port}`]);
    await child.line("the clients' beginning", (line) => line.startsWith('{"measuring"'));
    return new Requests(child);
  }

  /** Ends the clients once their requests are answered. */
  async stop(): Promise<RequestsSummary> {
    this.child.process.kill("SIGTERM");
    const line = await this.child.line("the clients' summary", (each) => each.startsWith('{"completed"') && each);
    await this.child.ended;
    const { completed, connections, failed, failures } = JSON.parse(line) as RequestsSummary;
    return { completed, connections, failed, failures };
  }
}
