/** Workers of node:cluster (examples/node-cluster), a socket each, with the clients that every receiver is tried with. */
import { join } from "node:path";
import { it } from "vitest";
import { Folder } from "../support/folder.js";
import { copyExample } from "../support/node-example.js";
import { type ReceiverProgram, restartedUnderLoad, tenThousand } from "./support/receiver-trials.js";

const program = join(copyExample("node-cluster", new Folder().path), "server.mjs");

const cluster: ReceiverProgram = {
  name: "examples/node-cluster",
  inFolder: true,
  sockets: 2,
  command: ({ socket, cert, key }) => [process.execPath, program, socket, cert, key, "2"],
};

it("serves 10,000 clients", () => tenThousand(cluster));

it("is killed, and restarted, under load: no client notices", () => restartedUnderLoad(cluster));
