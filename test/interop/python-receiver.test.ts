/** The receiver of examples/python: under uvicorn, and under the standard library's http.server. */
import { realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, it } from "vitest";
import { peer } from "./support/peers.js";
import { type ReceiverProgram, restartedUnderLoad, tenThousand } from "./support/receiver-trials.js";

const example = (name: string) => fileURLToPath(new URL(`../../examples/python/${name}`, import.meta.url));
/** Of the virtual environment that uvicorn is in. */
const python = () => join(dirname(realpathSync(peer("uvicorn"))), "python");

const programs: ReceiverProgram[] = ["https_asgi", "https_plain"].map((name) => ({
  name,
  command: ({ socket, cert, key }) => [python(), "-B", example(`${name}.py`), socket, cert, key],
}));

describe.each(programs)("$name", (program) => {
  it("serves 10,000 clients", () => tenThousand(program));

  it("is killed, and restarted, under load: no client notices", () => restartedUnderLoad(program));
});
