/** What one client does, by the seed and its number. */
import type { InvalidReason } from "../../../src/tls/outcome.js";
import { malformedHellos } from "../../support/malformed-hellos.js";
import { buildHello } from "../../tls/hello-builder.js";
import { routes, UNKNOWN } from "./names.js";
import { integer, percent, pick, type Random, sequence } from "./random.js";

/**
 * asks: and is answered, each request.  leaves: it asks, and goes without waiting for the answer.
 * incomplete: a part of a hello, or nothing, then it goes.  refused: by an alert.
 */
export type Kind = "asks" | "leaves" | "incomplete" | "refused";

export interface Plan {
  readonly number: number;
  /** Its own address on loopback: by it all others name this client. */
  readonly address: string;
  readonly kind: Kind;
  /** "": it sends none that could be read. */
  readonly name: string;
  /** The hello; each piece is sent so many milliseconds after what was before it. */
  readonly pieces: readonly Uint8Array[];
  readonly pauses: readonly number[];
  /** Pause before each request, in milliseconds; as many as there are. */
  readonly requests: readonly number[];
  /** How it goes, if it does so by itself. */
  readonly end: "FIN" | "RST";
}

const malformed = Object.keys(malformedHellos) as InvalidReason[];
const names = routes.map(({ name }) => name);

/** 127.1.0.0 and up. */
export function addressOf(number: number): string {
  return `127.${1 + (number >>> 16)}.${(number >>> 8) & 255}.${number & 255}`;
}

export function planOf(seed: number, number: number): Plan {
  const random = sequence(seed, 1, number);
  const kind = kindOf(random);
  const name = kind === "refused" ? (percent(random, 70) ? UNKNOWN : "") : pick(random, names);
  const hello = kind === "refused" && name === "" ? malformedHellos[pick(random, malformed)] : helloFor(random, name);
  const length = kind === "incomplete" ? integer(random, 0, hello.length - 1) : hello.length;
  const cuts = percent(random, 25) ? integer(random, 1, 4) : 0;
  const pieces = piecesOf(random, hello.subarray(0, length), cuts);
  return {
    number,
    address: addressOf(number),
    kind,
    name,
    pieces,
    pauses: pieces.map((_, i) => (i === 0 ? 0 : integer(random, 0, 150))),
    requests: requestsOf(random, kind),
    end: percent(random, 50) ? "FIN" : "RST",
  };
}

function kindOf(random: Random): Kind {
  const part = integer(random, 1, 100);
  if (part <= 88) return "asks";
  if (part <= 92) return "leaves";
  if (part <= 96) return "incomplete";
  return "refused";
}

/** Most as of browsers; some in two segments. */
function helloFor(random: Random, serverName: string): Uint8Array {
  const spec = { serverName, alpn: ["h2", "http/1.1"] };
  return percent(random, 70) ? buildHello(spec) : buildHello({ ...spec, totalLength: integer(random, 1500, 4000) });
}

function piecesOf(random: Random, bytes: Uint8Array, cuts: number): Uint8Array[] {
  const at = Array.from({ length: cuts }, () => integer(random, 0, bytes.length)).sort((a, b) => a - b);
  const ends = [...at, bytes.length];
  return ends.map((end, i) => bytes.subarray(i === 0 ? 0 : ends[i - 1], end)).filter((piece) => piece.length > 0);
}

/** Some stay, and ask again when much has happened. */
function requestsOf(random: Random, kind: Kind): number[] {
  if (kind === "leaves") return [0];
  if (kind !== "asks") return [];
  if (percent(random, 85)) return [0];
  return Array.from({ length: integer(random, 2, 4) }, (_, i) => (i === 0 ? 0 : integer(random, 0, 1200)));
}
