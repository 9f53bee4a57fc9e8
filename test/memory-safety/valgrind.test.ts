/**
 * The preload library in a C server, and its helper, under valgrind's memcheck: unlike the sanitizers it sees what is
 * used without having been written, in the C library's calls too.
 */
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { native } from "../../src/native/addon.js";
import { peer } from "../interop/support/peers.js";
import { compileServer, library } from "../preload/server.js";
import { Child } from "../support/child.js";
import { FakeDoor } from "../support/fake-door.js";
import { Folder } from "../support/folder.js";
import { TcpListener } from "../support/tcp.js";
import { until } from "../support/wait.js";

const folder = new Folder();
let program: string;
let tcp: TcpListener;

beforeAll(() => {
  program = compileServer(folder);
  tcp = new TcpListener();
});
afterAll(() => tcp.close());

/** What valgrind has written of each process, by its command. */
function reports(): { command: string; text: string }[] {
  return readdirSync(folder.path)
    .filter((name) => name.startsWith("valgrind."))
    .map((name) => readFileSync(join(folder.path, name), "utf8"))
    .map((text) => ({ command: /Command: (.*)/.exec(text)?.[1] ?? "", text }));
}

it("finds nothing in the library, in workers, or in the helper", async () => {
  const path = folder.at("door.sock");
  const options = [
    "--trace-children=yes",
    "--leak-check=full",
    "--errors-for-leak-kinds=definite",
    "--track-origins=yes",
  ];
  const args = [...options, `--log-file=${folder.at("valgrind.%p")}`, program, "-o", "-r", "-w", "2", "0.0.0.0:443"];
  const env = { LD_PRELOAD: library, SNI_HANDOFF: `443=${path}`, PATH: process.env.PATH };
  const child = new Child(peer("valgrind"), args, { env });
  await child.line("serving", (line) => line.includes('"serving"'));
  const door = await FakeDoor.open(path);
  for (let i = 0; i < 20; i++) {
    const { client, descriptor } = await tcp.pair();
    client.resume();
    const sequence = door.handOver(descriptor, { name: "a.test", alpn: "h2" });
    await door.acknowledged(sequence);
    native.close(descriptor);
    await once(client, "close");
  }
  const [pipe, other] = native.socketPair("stream");
  await door.refused(door.handOver(pipe));
  for (const fd of [pipe, other]) native.close(fd);
  door.close();
  await child.end("SIGTERM");
  const ofHelper = () => reports().filter(({ command }) => command.includes("sni-handoff-helper"));
  await until("the helper's end", () => ofHelper().some(({ text }) => text.includes("ERROR SUMMARY")), 60_000);
  const summaries = reports().map(
    ({ command, text }) => [command, /ERROR SUMMARY: \d+ errors/.exec(text)?.[0], text] as const,
  );
  expect(summaries.filter(([, summary]) => summary !== undefined).length).toBeGreaterThan(1); // the server's, too
  for (const [command, summary, text] of summaries) {
    if (summary !== undefined) expect(summary, `${command}\n${text}`).toBe("ERROR SUMMARY: 0 errors");
  }
});
