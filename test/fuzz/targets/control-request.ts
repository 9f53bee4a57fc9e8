/** Raw bytes as what a client sends to the control socket: a door's real server, on a real socket. */
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createControlServer } from "../../../src/daemon/control/server.js";
import { FakeControlled } from "../../support/fake-daemon.js";
import { check, same } from "../check.js";
import { textSeeds } from "../seeds.js";

const folder = mkdtempSync(join(tmpdir(), "sni-handoff-fuzz-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, "control.sock");
const door = new FakeControlled();
const failures: string[] = [];
const server = createControlServer(door, { failed: (error, what) => failures.push(`${what}: ${error.message}`) });
const listening = new Promise<void>((resolve) => server.listen(path, resolve));
server.unref();

export async function fuzz(data: Uint8Array): Promise<void> {
  await listening;
  door.told.length = 0;
  const answer = await ask(data);
  same(failures.splice(0), [], "no handler fails");
  check(door.told.length <= 1, "one request is done at most", door.told);
  if (door.told.length > 0) checkTold(Buffer.from(data).toString("latin1"), door.told[0]!);
  if (answer !== "") checkAnswer(answer);
}

/** What the client sends, then no more; what it is answered. */
function ask(data: Uint8Array): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    const client = connect(path, () => client.end(data));
    client.setEncoding("latin1");
    client.on("data", (part) => {
      answer += part;
    });
    // What it had not read is reset.
    client.on("error", () => {});
    client.on("close", () => resolve(answer));
  });
}

/** Nothing is done but by a request for it. */
function checkTold(sent: string, told: string): void {
  const [what, ...rest] = told.split(" ");
  const path = what === "setLogLevel" ? "/log-level" : `/${what}`;
  // Node's parser takes several blanks for one, ends of lines in front, and the line of HTTP/0.9.
  const line = /^[\r\n]*(\S+) +(\S+)/.exec(sent);
  check(line !== null, "a request line", sent);
  const methods = what === "diff" ? ["GET", "HEAD"] : what === "setLogLevel" ? ["PUT"] : ["POST"];
  check(methods.includes(line[1]!), `the method of ${told}`, line[1]);
  check(line[2]!.startsWith(path), `the path of ${told}`, line[2]);
  const target = rest.join(" ");
  if (what!.endsWith("drain")) check(target !== "", "a target", told);
}

function checkAnswer(all: string): void {
  // To "Expect: 100-continue" (RFC 9110 §10.1.1).
  const answer = all.replace("HTTP/1.1 100 Continue\r\n\r\n", "");
  if (answer === "") return;
  const end = answer.indexOf("\r\n\r\n");
  check(/^HTTP\/1\.1 \d{3} [A-Za-z ]+\r\n/.test(answer) && end > 0, "a response", answer);
  const head = answer.slice(0, end);
  const body = answer.slice(end + 4);
  const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
  check(!/\r\ntransfer-encoding/i.test(head), "a response of a stated length", head);
  check(body === "" || body.length === Number(length), "one response, whole", { length, body: body.slice(0, 200) });
  check(!/[^\x20-\x7e\r\n]/.test(head), "a head that can be shown", head);
  if (!/application\/json/.test(head) || body === "") return;
  const value = JSON.parse(Buffer.from(body, "latin1").toString()) as { ok?: unknown; message?: unknown };
  check(typeof value === "object" && value !== null, "JSON", body.slice(0, 200));
  if (!/^HTTP\/1\.1 200/.test(head)) check(value.ok === false && typeof value.message === "string", "why not", body);
}

export const seeds = (): Uint8Array[] =>
  textSeeds(
    "GET /status HTTP/1.1\r\n\r\n",
    "GET /metrics HTTP/1.0\r\n\r\n",
    "HEAD /diff?x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "POST /drain/app/1.sock HTTP/1.1\r\nContent-Length: 0\r\n\r\nPOST /stop HTTP/1.1\r\n\r\n",
    "POST /undrain/%61%ff HTTP/1.1\r\n\r\n",
    "PUT /log-level HTTP/1.1\r\nContent-Length: 6\r\n\r\ndebug\n",
    "PUT /log-level HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndebug\r\n0\r\n\r\n",
    "POST /reload HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
    "POST /upgrade HTTP/1.1\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "CONNECT localhost:1 HTTP/1.1\r\n\r\n",
    "\x16\x03\x01\x00\x05hello",
  );

export const words = [
  "HTTP/1.1\r\n",
  "Content-Length: ",
  "Transfer-Encoding: chunked\r\n",
  "Expect: ",
  "\r\n\r\n",
  "/drain/",
  "POST /stop ",
];
