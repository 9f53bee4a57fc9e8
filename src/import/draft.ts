/** A configuration of this program in the making, and what of the other program's could not be put into it. Pure. */
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";

/** A place in the imported text: lines count from 1. */
export interface Place {
  readonly file: string;
  readonly line: number;
}

/** Something that was not carried over, or not as it was. */
export interface Remark extends Place {
  /** What stands there, shortened. */
  readonly what: string;
  readonly why: string;
}

export interface Listener {
  readonly address: string;
  readonly protocol?: "http";
  readonly v6Only?: boolean;
  readonly backlog?: number;
  readonly acceptProxyProtocol?: readonly string[];
}

/** Milliseconds where there is a time. */
export interface RelayBackend {
  readonly kind: "relay";
  readonly targets: readonly string[];
  readonly proxyProtocol?: "v1" | "v2";
  readonly balance?: "least-connections";
  readonly connectTimeout?: number;
  readonly idleTimeout?: number;
  readonly lifetime?: number;
  readonly fallback?: string;
}

export type Backend =
  | RelayBackend
  | { readonly kind: "datagram"; readonly path: string; readonly fallback?: string }
  | { readonly kind: "reject"; readonly how: "close" | "internal_error" | "access_denied" };

export interface Access {
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
  readonly reject?: "close";
}

/** Where to, under which conditions. */
export interface Rule {
  readonly backend: string;
  readonly alpn?: readonly string[];
  readonly clients?: readonly string[];
  readonly tls?: readonly string[];
  readonly access?: Access;
}

/** Where everything goes that can be said, but not carried over: it refuses, so that nothing goes elsewhere unseen. */
const NOT_CARRIED_OVER = "not-carried-over";

const MAX_NAME = 64;

const MAX_LISTENERS = 1000;

export class Draft {
  /** Of the program that the text is for, as a title. */
  readonly from: string;
  readonly file: string;
  readonly listeners: Listener[] = [];
  readonly backends: Map<string, Backend> = new Map();
  readonly routes: Map<string, readonly Rule[]> = new Map();
  readonly patterns: { readonly match: string; readonly rule: Rule }[] = [];
  default: readonly Rule[] | undefined;
  noServerName: readonly Rule[] | undefined;
  notTls: string | undefined;
  readonly http: { readonly routes: Map<string, string>; default?: string } = { routes: new Map() };
  /** Milliseconds. */
  helloTimeout: number | undefined;
  readonly remarks: Remark[] = [];
  readonly #byContent: Map<string, string> = new Map();
  readonly #listening: Map<string, Listener[]> = new Map();
  /** How many names there are that begin alike. */
  readonly #numbers: Map<string, number> = new Map();

  constructor(from: string, file: string) {
    this.from = from;
    this.file = file;
  }

  remark(line: number, what: string, why: string, file: string = this.file): void {
    this.remarks.push({ file, line, what, why });
  }

  /**
   * The name of the backend that is like this: one that exists, or a new one with a name made of `wanted`. Backends
   * under names of their own in the other program are made with `own`, even if another one is alike.
   */
  backend(wanted: string, backend: Backend, own = false): string {
    const content = JSON.stringify(backend);
    const existing = this.#byContent.get(content);
    if (existing !== undefined && !own) return existing;
    const name = this.#freeName(wanted);
    this.backends.set(name, backend);
    if (existing === undefined) this.#byContent.set(content, name);
    return name;
  }

  /** The backend of what could not be carried over. */
  refused(): string {
    return this.backend(NOT_CARRIED_OVER, { kind: "reject", how: "internal_error" });
  }

  listen(listener: Listener, line: number, what: string): void {
    const port = listener.address.slice(listener.address.lastIndexOf(":") + 1);
    if (this.listeners.length >= MAX_LISTENERS)
      return this.remark(line, what, `there are ${MAX_LISTENERS} listeners already`);
    const others = this.#listening.get(port) ?? [];
    const other = others.find((each) => covers(each, listener) || covers(listener, each));
    if (other !== undefined) return this.remark(line, what, `${other.address} takes the same connections; left out`);
    others.push(listener);
    this.#listening.set(port, others);
    this.listeners.push(listener);
  }

  /** Takes backends away that nothing leads to, because what led there was not carried over. */
  prune(): void {
    const used = new Set<string>();
    const use = (name: string | undefined) => {
      for (let next = name; next !== undefined && !used.has(next); ) {
        used.add(next);
        const backend: Backend | undefined = this.backends.get(next);
        next = backend === undefined || backend.kind === "reject" ? undefined : backend.fallback;
      }
    };
    const lists = [...this.routes.values(), this.default ?? [], this.noServerName ?? []];
    for (const rules of lists) for (const { backend } of rules) use(backend);
    for (const { rule } of this.patterns) use(rule.backend);
    for (const name of [this.notTls, this.http.default, ...this.http.routes.values()]) use(name);
    for (const name of this.backends.keys()) if (!used.has(name)) this.backends.delete(name);
  }

  #freeName(wanted: string): string {
    const base = backendName(wanted);
    let name = base;
    let number = this.#numbers.get(base) ?? 1;
    while (this.backends.has(name)) name = `${base.slice(0, MAX_NAME - 1 - String(++number).length)}-${number}`;
    this.#numbers.set(base, number);
    return name;
  }
}

/** The kernel lets only one of two such listeners be, of one port (ip(7), ipv6(7)). */
function covers(a: Listener, b: Listener): boolean {
  if (a.address === b.address || a.address.startsWith("*:")) return true;
  if (a.address.startsWith("0.0.0.0:")) return !b.address.startsWith("[");
  return a.address.startsWith("[::]:") && (b.address.startsWith("[") || a.v6Only !== true);
}

/** The nearest name that a backend may have. */
export function backendName(text: string): string {
  const name = text
    .replace(/[^A-Za-z0-9._-]+/g, "-")
    .replace(/^[^A-Za-z0-9]+/, "")
    .slice(0, MAX_NAME)
    .replace(/[-.]+$/, "");
  return name === "" ? "backend" : name;
}

/** A block of addresses (CIDR) out of an address or a block, without bits behind it; undefined if it is neither. */
export function addressBlock(text: string): string | undefined {
  const [, address = "", length] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  if (isIP(address) === 0 || address.includes("%")) return undefined;
  const bytes = ipaddr.parse(address).toByteArray();
  const bits = length === undefined ? 8 * bytes.length : Number(length);
  if (bits > 8 * bytes.length) return undefined;
  const first = bytes.map((byte, index) => byte & (0xff00 >> Math.min(8, Math.max(0, bits - 8 * index))));
  return `${ipaddr.fromByteArray(first)}/${bits}`;
}

/** Whether two of these blocks have addresses in common: then one of them is in the other. */
export function overlap(a: string, b: string): boolean {
  const [[one, bits], [other, otherBits]] = [ipaddr.parseCIDR(a), ipaddr.parseCIDR(b)];
  const [bytes, otherBytes] = [one.toByteArray(), other.toByteArray()];
  const common = Math.min(bits, otherBits);
  const differs = (byte: number, index: number) =>
    ((byte ^ otherBytes[index]!) & (0xff00 >> Math.min(8, Math.max(0, common - 8 * index))) & 0xff) !== 0;
  return bytes.length === otherBytes.length && !bytes.some(differs);
}

/** The name of a protocol in ALPN: RFC 7301 §3.1. */
export function isProtocol(text: string): boolean {
  const length = Buffer.byteLength(text);
  return length >= 1 && length <= 255;
}
