/** examples/node-https behind the front door, with the clients that every receiver is tried with. */
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { type ReceiverProgram, restartedUnderLoad, tenThousand } from "./support/receiver-trials.js";

const example = fileURLToPath(new URL("../../examples/node-https/server.mjs", import.meta.url));

const server: ReceiverProgram = {
  name: "examples/node-https",
  command: ({ socket, cert, key }) => [process.execPath, example, cert, key, socket],
  listening: /^receiving on /m,
  seen: (body) => /^hello ([^,]+),/.exec(body)?.[1],
};

it("serves 10,000 clients", () => tenThousand(server));

it("is killed, and restarted, under load: no client notices", () => restartedUnderLoad(server));

it("an answer with another client's address is noticed", async () => {
  await expect(tenThousand({ ...server, seen: () => "127.0.0.2:1" }, 64)).rejects.toThrow(
    "the answer tells 127.0.0.2:1",
  );
});
