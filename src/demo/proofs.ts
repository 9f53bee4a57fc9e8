/** What the demonstration proves. Each returns what was seen, or throws what was wrong. */

import type { ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { ask, askHttp2, type Exchange, get, refusal } from "./client.js";
import { within } from "./deadline.js";
import type { BackendName, Stage } from "./stage.js";
import { keyStreamSha256 } from "./stream.js";

export interface Proof {
  readonly title: string;
  readonly prove: (stage: Stage, backends: Backends) => Promise<string>;
}

/** The running process of each backend that has one only. */
export type Backends = { web: ChildProcess; h2: ChildProcess };

const MIB = 1 << 20;
const DOWNLOAD_BYTES = 96 * MIB;
const DOWNLOAD_TIMEOUT = 30_000;
/** Until both instances of the pool have answered: one found between its bind(2) and listen(2) is tried again a second later. */
const BOTH_TIMEOUT = 10_000;
/** How long a client waits before its backend is started again, to be seen. Milliseconds. */
const ABSENCE = 700;

export const proofs: readonly Proof[] = [
  { title: "A request for web.demo.test (HTTP/1.1)", prove: (stage, { web }) => reaches(stage, "web", web) },
  { title: "A request for h2.demo.test (HTTP/2)", prove: (stage, { h2 }) => reaches(stage, "h2", h2) },
  { title: "Requests for pool.demo.test, a folder with two instances", prove: reachesBoth },
  { title: "A name that nobody serves", prove: refusesUnknown },
  { title: "The front door is killed (SIGKILL) in the middle of a download, and started again", prove: survivesKill },
  { title: "A backend is killed (SIGKILL); a client comes while it is away; it is started again", prove: holdsClient },
];

async function reaches(stage: Stage, name: BackendName, backend: ChildProcess): Promise<string> {
  const exchange = await (name === "h2" ? askHttp2 : ask)(stage.target(name));
  checkExchange(stage, name, exchange);
  const { answer, client, fingerprint } = exchange;
  expect(answer.pid, backend.pid, "process that answered");
  return `${answer.protocol} by process ${answer.pid}; its own certificate (SHA-256 ${fingerprint.slice(0, 11)}…); it saw ${client}, the client's own address`;
}

/** The certificate is the backend's own, and the address that it saw is the client's. */
function checkExchange(stage: Stage, name: BackendName, { answer, client, fingerprint }: Exchange): void {
  expect(answer.backend, name, "backend that answered");
  expect(fingerprint, stage.certificates[name].fingerprint, "certificate");
  expect(answer.client, client, "client's address as the backend saw it");
  expect(answer.serverName, stage.certificates[name].name, "server name that the backend was told");
}

function expect(found: unknown, wanted: unknown, what: string): void {
  if (found !== wanted) throw new Error(`${what}: ${found}, where ${wanted} was expected`);
}

async function reachesBoth(stage: Stage): Promise<string> {
  const answers = new Map<number, number>();
  const end = performance.now() + BOTH_TIMEOUT;
  for (let asked = 0; asked < 10 || (answers.size < 2 && performance.now() < end); asked++) {
    const exchange = await ask(stage.target("pool"));
    checkExchange(stage, "pool", exchange);
    answers.set(exchange.answer.pid, (answers.get(exchange.answer.pid) ?? 0) + 1);
  }
  expect(answers.size, 2, "instances that answered");
  return [...answers].map(([pid, count]) => `process ${pid} answered ${count}`).join(", ");
}

async function refusesUnknown(stage: Stage): Promise<string> {
  const code = await refusal(stage.port, "nobody.example.test");
  expect(code, "ERR_SSL_TLSV1_UNRECOGNIZED_NAME", "client's error");
  return "nobody.example.test: the TLS alert unrecognized_name";
}

/** A download that reads only as far as it is told, so that it is in progress whenever something is done meanwhile. */
class Download {
  received = 0;
  readonly #hash = createHash("sha256");
  readonly #chunks: AsyncIterator<Buffer>;

  constructor(response: IncomingMessage) {
    this.#chunks = response[Symbol.asyncIterator]();
  }

  /** Reads until so many bytes have arrived, or to the end. */
  async readTo(bytes: number): Promise<void> {
    while (this.received < bytes) {
      const { done, value } = await within(DOWNLOAD_TIMEOUT, "more of the download", this.#chunks.next());
      if (done) return;
      this.#hash.update(value);
      this.received += value.length;
    }
  }

  sha256(): string {
    return this.#hash.digest("hex");
  }
}

async function survivesKill(stage: Stage): Promise<string> {
  const download = new Download(await get(stage.target("web"), `/download/${DOWNLOAD_BYTES}`));
  await download.readTo(DOWNLOAD_BYTES / 4);
  const killed = stage.door.pid;
  await stage.door.kill();
  const before = download.received;
  await download.readTo(DOWNLOAD_BYTES / 2);
  const without = download.received - before;
  await stage.startDoor();
  await download.readTo(Number.POSITIVE_INFINITY);
  expect(download.received, DOWNLOAD_BYTES, "bytes received");
  const sha256 = download.sha256();
  expect(sha256, keyStreamSha256(DOWNLOAD_BYTES), "SHA-256");
  checkExchange(stage, "web", await ask(stage.target("web")));
  const mib = (bytes: number) => `${(bytes / MIB).toFixed(0)} MiB`;
  return `${mib(before)} had come when process ${killed} was killed, ${mib(without)} came while there was no front door, ${mib(DOWNLOAD_BYTES)} in all; SHA-256 ${sha256.slice(0, 12)}… is right; process ${stage.door.pid} takes new requests`;
}

async function holdsClient(stage: Stage, backends: Backends): Promise<string> {
  const killed = backends.web.pid;
  const gone = once(backends.web, "exit");
  backends.web.kill("SIGKILL");
  await gone;
  const begun = performance.now();
  const asked = ask(stage.target("web"));
  asked.catch(() => {});
  const early = await Promise.race([asked, sleep(ABSENCE)]);
  if (early !== undefined) throw new Error("the client was answered while the backend was away");
  backends.web = await stage.startBackend("web");
  const exchange = await asked;
  checkExchange(stage, "web", exchange);
  expect(exchange.answer.pid, backends.web.pid, "process that answered");
  const seconds = (performance.now() - begun) / 1000;
  return `process ${killed} was killed; the client waited ${seconds.toFixed(1)} s and was answered by process ${exchange.answer.pid}`;
}
