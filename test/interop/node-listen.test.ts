/** A Node program that was not changed (examples/node-unchanged), by its preload, with the clients that every receiver is tried with. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Folder } from "../support/folder.js";
import { copyExample } from "../support/node-example.js";
import { receiverTrials } from "./support/receiver-trials.js";

const preload = fileURLToPath(new URL("../../dist/backend/listen.js", import.meta.url));
const program = join(copyExample("node-unchanged", new Folder().path), "server.mjs");

receiverTrials({
  name: "examples/node-unchanged",
  command: ({ socket, cert, key }) => [
    ...["env", `SNI_HANDOFF=443=${socket}`],
    ...[process.execPath, "--import", preload, program, cert, key],
  ],
});
