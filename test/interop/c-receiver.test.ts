/** examples/c: the header for any event loop, and the HTTPS server that is made with it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { compiled, complaints, sanitized } from "./support/c-programs.js";
import { conformance, type ReceiverProgram, restartedUnderLoad, tenThousand } from "./support/receiver-trials.js";

const header = fileURLToPath(new URL("../../examples/c/sni_handoff.h", import.meta.url));
const libraries = ["-lssl", "-lcrypto"];

let quick: string;
let checked: string;

beforeAll(async () => {
  quick = await compiled("examples/c/https.c", ["-O2"], libraries);
  checked = await compiled("examples/c/https.c", sanitized, libraries);
});

function receiver(name: string, program: () => string): ReceiverProgram {
  return { name, command: ({ socket, cert, key }) => [program(), socket, cert, key] };
}

describe("the header", () => {
  it.each([
    ["gcc", "c11"],
    ["gcc", "c17"],
    ["gcc", "c++11"],
    ["gcc", "c++20"],
    ["clang", "c11"],
    ["clang", "c17"],
    ["clang", "c++11"],
    ["clang", "c++20"],
  ])("%s has nothing to say of it as %s", async (compiler, standard) => {
    const folder = mkdtempSync(join(tmpdir(), "sni-handoff-header-"));
    const source = join(folder, "source");
    try {
      writeFileSync(source, `#define SNI_HANDOFF_IMPLEMENTATION\n#include "${header}"\n#include "${header}"\n`);
      expect(await complaints(compiler, standard, source)).toBe("");
      // As the program's other files have it.
      writeFileSync(source, `#include "${header}"\nenum sni_handoff_user { SNI_HANDOFF_USED };\n`);
      expect(await complaints(compiler, standard, source)).toBe("");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("examples/c/https.c", () => {
  it("serves 10,000 clients", () => tenThousand(receiver("examples/c", () => quick)));

  describe("under AddressSanitizer, leaks too, and UndefinedBehaviorSanitizer", () => {
    const program = receiver("examples/c, sanitized", () => checked);

    it("keeps every rule of the protocol", () => conformance(program));

    it("serves clients", () => tenThousand(program, 640));

    it("is killed, and restarted, under load: no client notices", () => restartedUnderLoad(program));
  });
});
