/**
 * What an idle connection takes up in a Node server: the same program, once accepting on a port by itself and once
 * receiving from the door, fresh processes in alternating rounds. Each client has made one request, and stays.
 *
 *     node bench/node-memory.mjs [--only KIND,KIND] [--rounds N] [--connections N] [--json]
 *
 * KIND is http or https. Printed: bytes for each connection, of the process (memory that it shares with no other one),
 * and of V8's heap and what hangs on it; all after garbage collection.
 */
import { once } from "node:events";
import { connect as connectPlain } from "node:net";
import { join } from "node:path";
import { connect as connectSecure } from "node:tls";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { generate } from "selfsigned";
import { describeMachine, machineText } from "./machine.mjs";
import { startDoor } from "./node-door.mjs";
import { checkLimits } from "./preflight.mjs";
import { Child, stopAll, stopAtSignals } from "./process.mjs";
import { ratio, summarize } from "./stats.mjs";
import { spread, table } from "./table.mjs";
import { makeWorkspace } from "./workspace.mjs";

const serverProgram = fileURLToPath(new URL("library-server.mjs", import.meta.url));
const NAME = "app.example";
const KINDS = ["http", "https"];
/** Clients that connect at the same time. */
const AT_ONCE = 50;
/** The first ones make the process grow once and for all. */
const EARLIER = 200;

/**
 * @typedef {{ cert: string, private: string }} Pair a certificate and its key
 * @typedef {{ process: number, heap: number }} Bytes for each connection
 * @typedef {Awaited<ReturnType<typeof compare>>} Compared
 */

/** @param {string} kind @param {string} address */
async function openOne(kind, address) {
  const { hostname: host, port } = new URL(`tcp://${address}`);
  const to = { host, port: Number(port), servername: NAME, rejectUnauthorized: false };
  const socket = kind === "https" ? connectSecure(to) : connectPlain(to);
  await once(socket, kind === "https" ? "secureConnect" : "connect");
  socket.write(`GET / HTTP/1.1\r\nHost: ${NAME}\r\n\r\n`);
  let answer = "";
  while (!answer.endsWith("hello\n")) answer += (await once(socket, "data"))[0];
  return socket;
}

/** @param {string} kind @param {string} address @param {number} count @param {import("node:net").Socket[]} sockets */
async function open(kind, address, count, sockets) {
  const until = sockets.length + count;
  let left = count;
  const lane = async () => {
    while (left-- > 0) sockets.push(await openOne(kind, address));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  if (sockets.length !== until) throw new Error(`${sockets.length} connections instead of ${until}`);
}

/** What the server says when it has so many connections. @param {Child} server @param {number} connections */
async function look(server, connections) {
  for (;;) {
    const number = (asked.get(server) ?? 0) + 1;
    asked.set(server, number);
    server.signal("SIGUSR2");
    const line = await server.find((each) => (each.look === number ? each : undefined), 20_000);
    if (line.connections === connections) return line;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
/** How often each server was asked. */
const asked = new WeakMap();

/**
 * Bytes for each connection.
 *
 * @param {string} kind @param {Pair} own @param {number} connections @param {string} folder
 * @param {{ number: number, receives: boolean }} round
 * @returns {Promise<Bytes>}
 */
async function measure(kind, own, connections, folder, round) {
  const path = round.receives ? join(folder, `${kind}-${round.number}.sock`) : undefined;
  const argument = JSON.stringify({ kind, cert: own.cert, key: own.private, path });
  const server = new Child("The server", process.execPath, ["--expose-gc", serverProgram, argument]);
  const port = await server.find((line) => (line.ready ? line.port : undefined), 10_000);
  const door = path === undefined ? undefined : await startDoor(folder, path);
  const address = door?.address ?? `127.0.0.1:${port}`;
  /** @type {import("node:net").Socket[]} */
  const sockets = [];
  try {
    await open(kind, address, EARLIER, sockets);
    const before = await look(server, EARLIER);
    await open(kind, address, connections, sockets);
    const after = await look(server, EARLIER + connections);
    return {
      process: (after.process - before.process) / connections,
      heap: (after.heap - before.heap + after.external - before.external) / connections,
    };
  } finally {
    for (const socket of sockets) socket.destroy();
    await Promise.all([door?.door.stop(), server.stop()]);
  }
}

/** @param {string} kind @param {{ rounds: number, connections: number }} settings @param {string} folder */
async function compare(kind, settings, folder) {
  const own = await generate([{ name: "commonName", value: NAME }], {
    keyType: "ec",
    curve: "P-256",
    algorithm: "sha256",
  });
  /** @type {{ [side in "accepts" | "receives"]: Bytes[] }} */
  const rounds = { accepts: [], receives: [] };
  for (let number = 0; number < settings.rounds; number++) {
    for (const side of /** @type {const} */ (["accepts", "receives"])) {
      process.stderr.write(`\r${kind} ${side}, round ${number + 1}   `);
      const round = { number, receives: side === "receives" };
      rounds[side].push(await measure(kind, own, settings.connections, folder, round));
    }
  }
  process.stderr.write("\r\x1b[K");
  const figures = (/** @type {keyof Bytes} */ what) => {
    const of = (/** @type {keyof typeof rounds} */ side) => rounds[side].map((each) => each[what]);
    return {
      accepts: summarize(of("accepts")),
      receives: summarize(of("receives")),
      ratio: ratio(of("receives"), of("accepts")),
    };
  };
  return { process: figures("process"), heap: figures("heap") };
}

/** @param {Record<string, Compared>} results */
function report(results) {
  const rows = Object.entries(results).flatMap(([kind, result]) =>
    Object.entries(result).map(([what, { accepts, receives, ratio: compared }]) => [
      kind,
      what,
      spread(accepts, 0),
      spread(receives, 0),
      spread(compared, 3),
    ]),
  );
  return table(["server", "bytes of its", "accepts", "receives", "ratio"], rows);
}

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    connections: { type: "string", default: "2000" },
    only: { type: "string", default: KINDS.join(",") },
    json: { type: "boolean", default: false },
  },
});
const wanted = values.only.split(",");
const unknown = wanted.find((kind) => !KINDS.includes(kind));
if (unknown !== undefined) {
  process.stderr.write(`--only: ${unknown} is none of ${KINDS.join(", ")}\n`);
  process.exit(2);
}
// Half a round says nothing.
stopAtSignals().addEventListener("abort", async () => {
  await stopAll();
  process.exit(130);
});
await checkLimits(Number(values.connections) + EARLIER);
const settings = { rounds: Number(values.rounds), connections: Number(values.connections) };
const machine = describeMachine(`node bench/node-memory.mjs ${process.argv.slice(2).join(" ")}`.trim());
const { folder } = makeWorkspace();
/** @type {Record<string, Compared>} */
const results = {};
try {
  for (const kind of wanted) results[kind] = await compare(kind, settings, folder);
} finally {
  await stopAll();
}
process.stdout.write(
  values.json
    ? `${JSON.stringify({ machine, settings, results }, null, 2)}\n`
    : `${machineText(machine)}\n${report(results)}`,
);
