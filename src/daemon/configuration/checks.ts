/** What a schema cannot see: whether the parts of a configuration fit together, and fit this system. */
import { formatListenAddress, parseListenAddress } from "./addresses.js";
import { suggestion } from "./nearest.js";
import type { Outline } from "./outline.js";
import { besideConfiguration, MAX_SOCKET_PATH, socketPath } from "./paths.js";
import type { Step } from "./positions.js";
import { show } from "./scalars.js";
import { findUid } from "./users.js";

/** Makes a problem of a place in the configuration. */
export type Report = (path: readonly Step[], message: string, place?: "key" | "value") => void;

export function checkOutline(outline: Outline, file: string, problem: Report, warning: Report): void {
  checkReferences(outline, problem);
  checkFallbackCycles(outline, problem);
  checkListeners(outline, problem);
  checkHandoffPaths(outline, file, problem, warning);
  checkMaps(outline, file, problem);
  for (const { path, text } of outline.users)
    if (findUid(text) === undefined)
      problem(path, `found ${show(text)}, which is no user of this system; allowed: a user's name or number`);
}

function checkReferences({ backends, routes, fallbacks, defaults }: Outline, problem: Report): void {
  const known = new Set(backends);
  for (const { path, backend } of [...routes, ...fallbacks, ...defaults]) {
    if (known.has(backend)) continue;
    problem(path, `found ${show(backend)}, which is not a backend${suggestion(backend, known)}; ${listed(backends)}`);
  }
}

function listed(names: readonly string[]): string {
  if (names.length === 0) return "there are none";
  const more = names.length > 10 ? ` and ${names.length - 10} more` : "";
  return `there are ${names.slice(0, 10).join(", ")}${more}`;
}

/** Each cycle is reported once, at the first of its backends in the file. */
function checkFallbackCycles({ fallbacks }: Outline, problem: Report): void {
  const next = new Map(fallbacks.map(({ of, backend }) => [of, backend]));
  const settled = new Set<string>();
  for (const { of, path } of fallbacks) {
    const chain: string[] = [];
    let backend: string | undefined = of;
    while (backend !== undefined && !settled.has(backend) && !chain.includes(backend)) {
      chain.push(backend);
      backend = next.get(backend);
    }
    if (backend !== undefined && chain.includes(backend)) {
      const cycle = chain.slice(chain.indexOf(backend));
      const place = fallbacks.find((each) => cycle.includes(each.of))?.path ?? path;
      problem(place, `fallbacks go in a circle: ${[...cycle, backend].join(" -> ")}`);
    }
    for (const each of chain) settled.add(each);
  }
}

function checkListeners({ addresses }: Outline, problem: Report): void {
  const seen = new Map<string, string>();
  for (const { path, text, v6Only } of addresses) {
    const address = parseListenAddress(text);
    if (address === undefined) continue;
    if (v6Only && !address.address.includes(":"))
      problem(
        [...path.slice(0, -1), "v6Only"],
        `found true for ${show(text)}, which is no IPv6 address; allowed: false`,
      );
    const written = formatListenAddress(address);
    const first = seen.get(written);
    if (first !== undefined && address.port !== 0)
      problem(path, `found ${show(text)}, the address of ${first} already`);
    seen.set(written, `listeners[${path[1]}]`);
  }
}

function checkHandoffPaths({ handoffs }: Outline, file: string, problem: Report, warning: Report): void {
  const seen = new Map<string, string>();
  for (const { path, text } of handoffs) {
    const resolved = socketPath(file, text);
    const length = Buffer.byteLength(resolved);
    if (text.includes("\0") || text === "@") problem(path, `found ${show(text)}, which is no path`);
    else if (length > MAX_SOCKET_PATH)
      problem(path, `found a path of ${length} bytes (${show(resolved)}); allowed: ${MAX_SOCKET_PATH} bytes (unix(7))`);
    const first = seen.get(resolved);
    if (first !== undefined) warning(path, `is the path of backend ${first} too: both go to the same processes`);
    else seen.set(resolved, String(path[1]));
  }
}

function checkMaps({ maps }: Outline, file: string, problem: Report): void {
  const seen = new Set<string>();
  for (const { path, text } of maps) {
    const name = besideConfiguration(file, text);
    if (seen.has(name)) problem(path, `found ${show(text)} a second time; allowed: each file once`);
    seen.add(name);
  }
}
