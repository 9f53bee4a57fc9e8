// An instance of the fault model. Argument: JSON { name, path, protocol?, journal }. Without a path it is what a relay
// connects to, and gets its clients' addresses by PROXY headers (version 1).
// A client says a hello, then a number a line; the answer is "NAME PID NUMBER". Before anything else the journal, a file that
// all instances share, gets a line: "owned CLIENT PID NAME TIME" for each connection, and "answered CLIENT PID NAME TIME NUMBER".
// SIGTERM drains; SIGUSR2 makes it overloaded, and the next one not. Says {"ready":true, port?}.
import { openSync, writeSync } from "node:fs";
import { createServer } from "node:net";
import { receive } from "sni-handoff/backend";

const { name, path, protocol, journal } = JSON.parse(process.argv[2]);
const file = openSync(journal, "a");
const sockets = new Set();
let receiver;
let isOverloaded = false;
let isEnding = false;

/** One write(2) with O_APPEND: whole, also if the process is killed. CLOCK_MONOTONIC, as of time.ts. */
function note(what, client, more = "") {
  const time = Number(process.hrtime.bigint()) / 1e6;
  writeSync(file, `${what} ${client} ${process.pid} ${name} ${time.toFixed(3)}${more}\n`);
}

function endIfDone() {
  if (isEnding && sockets.size === 0) process.exit(0);
}

function serve(socket, client) {
  let bytes = Buffer.alloc(0);
  let helloIsRead = false;
  sockets.add(socket);
  socket.on("error", () => {});
  socket.on("close", () => {
    sockets.delete(socket);
    endIfDone();
  });
  if (client !== undefined) note("owned", client);
  const take = (data) => {
    bytes = Buffer.concat([bytes, data]);
    if (client === undefined) {
      const end = bytes.indexOf("\r\n");
      if (end < 0) return;
      client = bytes.toString("latin1", 0, end).split(" ")[2];
      note("owned", client);
      bytes = bytes.subarray(end + 2);
    }
    if (!helloIsRead) {
      const length = bytes.length < 5 ? Number.POSITIVE_INFINITY : 5 + bytes.readUInt16BE(3);
      if (bytes.length < length) return;
      helloIsRead = true;
      bytes = bytes.subarray(length);
    }
    for (let end = bytes.indexOf("\n"); end >= 0; end = bytes.indexOf("\n")) {
      const number = bytes.toString("latin1", 0, end);
      bytes = bytes.subarray(end + 1);
      note("answered", client, ` ${number}`);
      socket.write(`${name} ${process.pid} ${number}\n`);
    }
  };
  socket.on("data", take);
}

process.on("SIGUSR2", () => {
  isOverloaded = !isOverloaded;
});
process.on("SIGTERM", async () => {
  await receiver?.close();
  isEnding = true;
  endIfDone();
});

if (path === undefined) {
  const server = createServer((socket) => serve(socket, undefined));
  server.listen(0, "127.0.0.1", () => {
    process.stdout.write(`${JSON.stringify({ ready: true, port: server.address().port })}\n`);
  });
} else {
  const how = protocol === undefined ? {} : { protocol };
  // An address is missing where the client has gone: nobody else gets it.
  receiver = await receive({ path, ...how, overloaded: () => isOverloaded }, (socket) =>
    serve(socket, socket.remoteAddress ?? "gone"),
  );
  process.stdout.write('{"ready":true}\n');
}
