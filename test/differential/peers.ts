/** The implementations that read the same hellos, each built or found when it is first asked for. */
import { fileURLToPath } from "node:url";
import { compiled } from "../interop/support/c-programs.js";
import { buildGoModule } from "../interop/support/go-build.js";
import { buildCrate } from "../interop/support/rust-build.js";
import type { Peer } from "./answer.js";
import { HelloProgram } from "./program.js";
import { Tshark } from "./tshark.js";

const programs = fileURLToPath(new URL("programs", import.meta.url));

export const peers = {
  openssl: async () =>
    new HelloProgram("openssl", await compiled("test/differential/programs/openssl.c", ["-O2"], ["-lssl", "-lcrypto"])),
  go: async () => new HelloProgram("go", buildGoModule("hellos", `${programs}/go`)),
  rustls: async () =>
    new HelloProgram(
      "rustls",
      await buildCrate("rustls-hellos", `${programs}/rustls`, ["Cargo.toml", "src/main.rs"], "hellos"),
    ),
  tshark: async () => new Tshark(),
} as const satisfies Record<string, () => Promise<Peer>>;

export type PeerName = keyof typeof peers;
export const peerNames = Object.keys(peers) as PeerName[];
