/**
 * What answers on a control socket, as `sni-handoff status` and the other commands read and show it: the bytes decide what
 * is changed in a right status, or are the answer themselves.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { renderStatus } from "../../../src/cli/status/render.js";
import { askStatus, askTo } from "../../../src/daemon/control/client.js";
import { HandoffError } from "../../../src/errors.js";
import { someStatus } from "../../support/some-status.js";
import { check } from "../check.js";
import { integer, randomBytes, randomOf, seededRandom } from "../random.js";
import { textSeeds } from "../seeds.js";
import { changed } from "../tree.js";

const folder = mkdtempSync(join(tmpdir(), "sni-handoff-fuzz-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, "control.sock");
const right = JSON.parse(JSON.stringify(someStatus())) as unknown;
let answer: Uint8Array;
const server = createServer((socket) => {
  socket.on("error", () => {});
  socket.on("data", () => socket.end(answer));
});
const listening = new Promise<void>((resolve) => server.listen(path, resolve));
server.unref();

export async function fuzz(data: Uint8Array): Promise<void> {
  await listening;
  answer = data[0] === 0 ? changedStatus(data) : data;
  await asked(async () => {
    const status = await askStatus(path);
    const at = 0;
    for (const width of [20, 80, 200]) {
      for (const line of renderStatus({ status, at }, { width, brief: width === 20 })) {
        check(!/[^\P{C}]|[\p{Zl}\p{Zp}]/u.test(line), "a line that a terminal can show", line);
      }
    }
  });
  await asked(async () => {
    const { message, details = [] } = await askTo(path, "POST", "/reload");
    for (const text of [message, ...details]) check(!/[^\P{C}\n]/u.test(text), "text that a terminal can show", text);
  });
}

/** Either it succeeds, or it fails with words for whoever asked. */
async function asked(run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof HandoffError)) throw error;
    check(error.code === "ERR_CONTROL", "one kind of error", error.message);
    check(!/[^\P{C}\n]/u.test(error.message), "an error that a terminal can show", error.message);
  }
}

function changedStatus(data: Uint8Array): Uint8Array {
  const random = randomOf(data, 1);
  const body = Buffer.from(JSON.stringify(changed(random, right, integer(random, 0, 3))));
  return Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`), body]);
}

const ok = (body: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

export const seeds = (): Uint8Array[] => [
  ...textSeeds(
    ok('{"ok":true,"message":"done","details":["a\\u001b[31m"]}'),
    ok('{"version":"2.0.0"}'),
    ok('{"kind":"relay"}'),
    ok("[]"),
    "HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    'HTTP/1.1 500 X\r\n\r\n{"ok":false,"message":"x"}',
    "SSH-2.0-x\r\n",
  ),
  ...Array.from({ length: 16 }, (_, seed) => Uint8Array.from([0, ...randomBytes(seededRandom(seed), 24)])),
];

export const words = [
  "HTTP/1.1 200 OK\r\n",
  "Content-Length: ",
  "\r\n\r\n",
  '{"ok":',
  '"message":',
  "\\u001b",
  "\\u009b",
  "null",
];
