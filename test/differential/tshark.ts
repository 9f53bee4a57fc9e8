/** Wireshark's dissector of TLS, by tshark: it shows what it can of anything, and says where it could not go on. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { peer } from "../interop/support/peers.js";
import type { Answer, Peer } from "./answer.js";
import { pcap, streamOf } from "./pcap.js";

/** Display filter reference: https://www.wireshark.org/docs/dfref/t/tls.html */
const FIELDS = [
  "ip.src",
  "tls.handshake.type",
  "tls.handshake.extensions_server_name_type",
  "tls.handshake.extensions_server_name_len",
  "tls.handshake.extensions_server_name",
  "tls.handshake.extensions_alpn_str",
  "_ws.expert.message",
] as const;

type Layers = Partial<Record<(typeof FIELDS)[number], string[]>>;

export class Tshark implements Peer {
  readonly name = "tshark";
  readonly #path = peer("tshark");
  readonly #folder = mkdtempSync(join(tmpdir(), "sni-handoff-tshark-"));
  #files = 0;

  /** As ASCII up to the first NUL. */
  shown(text: string): string {
    return text.split("\0")[0]!.replaceAll(/[\x80-\xff]/g, "\ufffd");
  }

  async ask(hellos: readonly Uint8Array[]): Promise<Answer[]> {
    if (hellos.length === 0) return [];
    const file = join(this.#folder, `${this.#files++}.pcap`);
    writeFileSync(file, pcap(hellos));
    const args = ["-n", "-r", file, "-T", "json", ...FIELDS.flatMap((field) => ["-e", field])];
    const { stdout } = await promisify(execFile)(this.#path, args, { maxBuffer: 2 ** 30 });
    rmSync(file);
    const answers = hellos.map((): Answer => ({ status: "waits" }));
    for (const { _source } of JSON.parse(stdout) as { _source: { layers: Layers } }[]) {
      answers[streamOf(_source.layers["ip.src"]![0]!)] = answerOf(_source.layers);
    }
    return answers;
  }

  async end(): Promise<void> {
    rmSync(this.#folder, { recursive: true });
  }
}

function answerOf(layers: Layers): Answer {
  const complaints = layers["_ws.expert.message"] ?? [];
  if (complaints.length > 0) return { status: "refuses", why: complaints.join("; ") };
  if (layers["tls.handshake.type"]?.[0] !== "1") return { status: "waits" };
  return {
    status: "accepts",
    name: hostName(layers),
    alpn: layers["tls.handshake.extensions_alpn_str"] ?? [],
  };
}

/** Names of every type are shown alike; several host_names are more than any name of ours. */
function hostName(layers: Layers): string | undefined {
  const lengths = layers["tls.handshake.extensions_server_name_len"] ?? [];
  const names = [...(layers["tls.handshake.extensions_server_name"] ?? [])];
  const all = (layers["tls.handshake.extensions_server_name_type"] ?? []).map((type, i) => {
    return { type, name: lengths[i] === "0" && names.length < lengths.length ? "" : names.shift() };
  });
  const hostNames = all.filter(({ type }) => type === "0").map(({ name }) => name);
  return hostNames.length === 0 ? undefined : hostNames.join("\0");
}
