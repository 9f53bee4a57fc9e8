// node server.mjs FOLDER CERTIFICATE KEY [WORKERS]: each worker has a socket of its own in the folder
import cluster from "node:cluster";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { availableParallelism } from "node:os";
import { attach, drainOnSignal } from "sni-handoff/backend";

const [folder, cert, key, workers = availableParallelism()] = process.argv.slice(2);

async function work() {
  const server = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, ({ socket }, response) => {
    response.setHeader("content-type", "text/plain");
    response.end(`hello from cluster: ${socket.remoteAddress}:${socket.remotePort}\n`);
  });
  // Instead of server.listen(443).
  const receiver = await attach(server, { path: `${folder}/` });
  // Ctrl-C and systemd signal all processes, and a second signal would cut requests: what counts is the primary's word.
  for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => {});
  drainOnSignal(receiver, { signals: ["SIGUSR2"] });
  process.send("listening");
}

function supervise() {
  let listening = 0;
  let isEnding = false;
  const fork = () => {
    cluster.fork().once("message", () => {
      if (++listening === Number(workers)) console.log(`listening on ${folder}`);
    });
  };
  for (let i = 0; i < workers; i++) fork();
  cluster.on("exit", () => {
    if (!isEnding) fork();
  });
  const end = () => {
    isEnding = true;
    for (const { process: worker } of Object.values(cluster.workers)) worker.kill("SIGUSR2");
  };
  process.once("SIGTERM", end);
  process.once("SIGINT", end);
}

if (cluster.isPrimary) supervise();
else await work();
