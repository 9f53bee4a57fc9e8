/** What a schema cannot see: whether the parts of a configuration fit together, and fit this system. */
import { resolve } from "node:path";
import { type BindAddress, overlap, parseListenAddress } from "./addresses.js";
import { suggestion } from "./nearest.js";
import { ONLY_OF_DATAGRAMS, type Outline } from "./outline.js";
import { besideConfiguration, MAX_SOCKET_PATH, socketPath } from "./paths.js";
import { show } from "./scalars.js";
import { formatPlace, type Place, type Report } from "./source.js";
import { parseTarget, targetPath } from "./targets.js";
import { findUser } from "./users.js";

export function checkOutline(outline: Outline, problem: Report, warning: Report): void {
  checkNames(outline, problem);
  checkReferences(outline, problem);
  checkListeners(outline, problem);
  checkHandoffPaths(outline, problem, warning);
  checkTargets(outline, problem);
  checkProtocols(outline, problem);
  checkEndpoints(outline, problem);
  checkMaps(outline, problem);
  for (const { text, ...place } of outline.users)
    if (findUser(text) === undefined) problem(place, noSuch("user", text));
}

/** For an account that isn't there. */
export function noSuch(what: "user" | "group", account: string | number): string {
  return `found ${show(account)}, but there is no such ${what}; allowed: a ${what}'s name or number`;
}

/** Within one file the YAML reader finds doubles. */
export function checkNames({ backends }: Outline, problem: Report): void {
  const seen = new Map<string, Place>();
  for (const { name, ...place } of backends) {
    const first = seen.get(name);
    if (first !== undefined)
      problem(place, `is a backend of ${formatPlace(first)} already; allowed: each name once`, "key");
    else seen.set(name, place);
  }
}

function checkReferences(outline: Outline, problem: Report): void {
  const { routes, rules, httpRoutes, defaults } = outline;
  checkReferencesAt([...routes, ...rules, ...httpRoutes, ...defaults], outline, problem);
  checkFallbacks(outline, problem);
}

export function checkFallbacks(outline: Outline, problem: Report): void {
  checkReferencesAt(outline.fallbacks, outline, problem);
  checkFallbackCycles(outline, problem);
}

function checkReferencesAt(
  places: readonly (Place & { readonly backend?: string | undefined })[],
  { backends }: Outline,
  problem: Report,
): void {
  const known = new Set(backends.map(({ name }) => name));
  for (const place of places) {
    const { backend } = place;
    if (backend === undefined || known.has(backend)) continue;
    problem(
      place,
      `found ${show(backend)}, which is not a backend${suggestion(backend, known)}; ${listed([...known])}`,
    );
  }
}

function listed(names: readonly string[]): string {
  if (names.length === 0) return "there are none";
  const more = names.length > 10 ? ` and ${names.length - 10} more` : "";
  return `there are ${names.slice(0, 10).join(", ")}${more}`;
}

/** A target that is there twice gets twice its share; a path that is too long for a socket can't be had; the relay sends no datagrams. */
export function checkTargets({ relays, fallbacks, datagrams }: Outline, problem: Report): void {
  const relayed = new Set(relays.map(({ of }) => of));
  for (const { of, backend, ...place } of fallbacks) {
    if (!relayed.has(of) || !datagrams.has(backend)) continue;
    problem(
      place,
      `found ${show(backend)}, which takes datagrams: the relay sends none; allowed: a backend of another kind`,
    );
  }
  const seen = new Set<string>();
  for (const { text, of, ...place } of relays) {
    const target = parseTarget(text);
    if (target === undefined) continue;
    const key = `${of} ${text}`;
    if (seen.has(key)) problem(place, `found ${show(text)} a second time; allowed: each target once`);
    seen.add(key);
    if (target.kind === "unix") checkSocketPath(place, text, targetPath(place.source.file, target.path), problem);
  }
}

/** Each cycle is reported once, at the first of its backends in the file. */
function checkFallbackCycles({ fallbacks }: Outline, problem: Report): void {
  const next = new Map(fallbacks.map(({ of, backend }) => [of, backend]));
  const settled = new Set<string>();
  for (const fallback of fallbacks) {
    const chain: string[] = [];
    let backend: string | undefined = fallback.of;
    while (backend !== undefined && !settled.has(backend) && !chain.includes(backend)) {
      chain.push(backend);
      backend = next.get(backend);
    }
    if (backend !== undefined && chain.includes(backend)) {
      const cycle = chain.slice(chain.indexOf(backend));
      const place = fallbacks.find((each) => cycle.includes(each.of)) ?? fallback;
      problem(place, `fallbacks go in a circle: ${[...cycle, backend].join(" -> ")}`);
    }
    for (const each of chain) settled.add(each);
  }
}

/** Listeners, and what else listens: the kernel would refuse the second of two that overlap. */
function checkListeners({ addresses, metrics }: Outline, problem: Report): void {
  const seen: { readonly address: BindAddress; readonly text: string; readonly name: string }[] = [];
  const all = [...addresses, ...(metrics === undefined ? [] : [{ ...metrics, v6Only: false }])];
  for (const { text, v6Only, source, path } of all) {
    const parsed = parseListenAddress(text);
    if (parsed === undefined) continue;
    if (v6Only && !parsed.address.includes(":"))
      problem(
        { source, path: [...path.slice(0, -1), "v6Only"] },
        `found true for ${show(text)}, which is no IPv6 address; allowed: false`,
      );
    const address = { ...parsed, v6Only };
    const other = seen.find((each) => overlap(each.address, address));
    if (other !== undefined)
      problem(
        { source, path },
        other.text === text
          ? `found ${show(text)}, the address of ${other.name} already`
          : `found ${show(text)}, but ${other.name} has ${show(other.text)}, which takes the same connections`,
      );
    seen.push({ address, text, name: `listeners[${path[1]}]` });
  }
}

function checkHandoffPaths({ handoffs }: Outline, problem: Report, warning: Report): void {
  const seen = new Map<string, string>();
  for (const { text, of, ...place } of handoffs) {
    const resolved = socketPath(place.source.file, text);
    if (text === "@") problem(place, `found ${show(text)}, which is no path`);
    else checkSocketPath(place, text, resolved, problem);
    const first = seen.get(resolved);
    if (first !== undefined) warning(place, `is the path of backend ${first} too: both go to the same processes`);
    else seen.set(resolved, of);
  }
}

/** Datagrams have no acknowledgements, no counts and no instances. */
function checkProtocols({ datagrams, protocolKeys, handoffs }: Outline, problem: Report): void {
  for (const { key, of, ...place } of protocolKeys) {
    const isOfDatagrams = ONLY_OF_DATAGRAMS.includes(key);
    if (isOfDatagrams === datagrams.has(of)) continue;
    const protocol = isOfDatagrams ? "handoff" : "datagram";
    problem(place, `has no meaning with "protocol: ${protocol}"; allowed: leave it out`, "key");
  }
  for (const { text, of, ...place } of handoffs) {
    if (!datagrams.has(of) || !text.endsWith("/")) continue;
    problem(place, `found ${show(text)}, a folder; allowed with "protocol: datagram": one socket's path`);
  }
}

function checkSocketPath(place: Place, text: string, resolved: string, problem: Report): void {
  const length = Buffer.byteLength(resolved);
  if (text.includes("\0")) problem(place, `found ${show(text)}, which is no path`);
  else if (length > MAX_SOCKET_PATH)
    problem(place, `found a path of ${length} bytes (${show(resolved)}); allowed: ${MAX_SOCKET_PATH} bytes (unix(7))`);
}

/** The control socket and the pidfile: what the door itself puts into the file system. */
function checkEndpoints({ control, pidfile, handoffs }: Outline, problem: Report): void {
  const taken = new Map<string, string>();
  for (const { text, of, source } of handoffs) taken.set(socketPath(source.file, text), of);
  for (const [what, at] of [["socket", control] as const, ["file", pidfile] as const]) {
    if (at === undefined) continue;
    const { text, ...place } = at;
    const path = resolve(socketPath(place.source.file, text));
    if (what === "socket" && text.startsWith("@"))
      problem(place, `found ${show(text)}: abstract addresses have no permissions; allowed: a ${what}'s path`);
    else if (text.endsWith("/")) problem(place, `found ${show(text)}, which is a folder; allowed: a ${what}'s path`);
    else if (what === "socket") checkSocketPath(place, text, path, problem);
    else if (text.includes("\0")) problem(place, `found ${show(text)}, which is no path`);
    const folder = path.slice(0, path.lastIndexOf("/") + 1);
    const backend = taken.get(path) ?? (what === "socket" ? taken.get(folder) : undefined);
    if (backend !== undefined) problem(place, `found ${show(text)}, where backend ${backend} has its sockets`);
    else if (what === "file" && control !== undefined && socketPath(control.source.file, control.text) === path)
      problem(place, `found ${show(text)}, which is the control socket`);
  }
}

function checkMaps({ maps }: Outline, problem: Report): void {
  const seen = new Map<string, Place>();
  for (const { text, ...place } of maps) {
    const name = resolve(besideConfiguration(place.source.file, text));
    const first = seen.get(name);
    if (first === undefined) seen.set(name, place);
    else {
      const where = first.source === place.source ? "" : ` (first at ${formatPlace(first)})`;
      problem(place, `found ${show(text)} a second time${where}; allowed: each file once`);
    }
  }
}
