/** Many curl processes at once, each with an address of its own and a connection a request: what each request saw. */
import { Child } from "../../support/child.js";
import { program } from "../../support/programs.js";
import { until } from "../../support/wait.js";

export interface CurlsStart {
  readonly port: number;
  /** The server name. */
  readonly name: string;
  /** A file with the certificate, or authority, that each answer must come from. */
  readonly certificateFile: string;
  /** In all; a multiple of `processes`. */
  readonly requests: number;
  /** Default 16. They ask from 127.0.0.2 on upwards. */
  readonly processes?: number;
}

/** A request, as its client saw it. */
export interface Asked {
  /** Address and port of its own end. */
  readonly client: string;
  /** HTTP's; 0 without an answer. */
  readonly status: number;
  readonly body: string;
  /** curl's words, if it failed. */
  readonly failure?: string;
}

/** Begins the line that ends what a request wrote. */
const MARK = "@curl ";
const FORMAT = `\\n${MARK}%{exitcode} %{http_code} %{local_ip}:%{local_port} %{errormsg}\\n`;

export class Curls {
  private readonly children: Child[];
  private readonly read: number[];
  private readonly bodies: string[][];
  private readonly asked: Asked[] = [];

  constructor({ port, name, certificateFile, requests, processes = 16 }: CurlsStart) {
    const url = `https://${name}:${port}/[1-${requests / processes}]`;
    this.children = Array.from({ length: processes }, (_, i) => {
      const from = ["--interface", `127.0.0.${2 + i}`, "--resolve", `${name}:${port}:127.0.0.1`];
      const how = ["--silent", "--http1.1", "--header", "Connection: close", "--max-time", "60"];
      return new Child(program("curl"), [...how, ...from, "--cacert", certificateFile, "--write-out", FORMAT, url]);
    });
    this.read = this.children.map(() => 0);
    this.bodies = this.children.map(() => []);
  }

  /** Requests that are answered, or have failed. */
  get progress(): number {
    for (const [i, { lines }] of this.children.entries()) {
      for (let at = this.read[i]!; at < lines.length; at++) this.take(i, lines[at]!);
      this.read[i] = lines.length;
    }
    return this.asked.length;
  }

  /** Resolves when so many are. */
  async passed(requests: number): Promise<void> {
    await until(`${requests} requests`, () => this.progress >= requests, 60_000);
  }

  /** Resolves to all of them, when they are done. */
  async done(): Promise<readonly Asked[]> {
    await Promise.all(this.children.map(({ ended }) => ended));
    await until("the last lines", () =>
      this.children.every((_, i) => this.progress >= 0 && this.bodies[i]!.length === 0),
    );
    return this.asked;
  }

  async kill(): Promise<void> {
    await Promise.all(this.children.map((child) => child.end("SIGKILL")));
  }

  private take(i: number, line: string): void {
    if (!line.startsWith(MARK)) {
      this.bodies[i]!.push(line);
      return;
    }
    const [exit, status, client, ...words] = line.slice(MARK.length).split(" ");
    const failure = exit === "0" ? {} : { failure: `${exit}: ${words.join(" ")}` };
    this.asked.push({ client: client!, status: Number(status), body: this.bodies[i]!.join("\n").trim(), ...failure });
    this.bodies[i] = [];
  }
}
