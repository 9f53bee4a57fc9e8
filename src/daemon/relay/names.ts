/** The names among the targets, resolved again and again: what is known of each, and when it is asked for again. */
import { NameResolver, type Resolved, type Server } from "./resolve.js";

/** A TTL is kept within these. Milliseconds. */
const SHORTEST = 5000;
const LONGEST = 3_600_000;
/** After a failure, doubled each time. Milliseconds. */
const FIRST_RETRY = 1000;
const LAST_RETRY = 30_000;
const LOOK_EVERY = 5;

export interface KnownName {
  /** The last that were told, also if the servers have failed since. */
  readonly addresses: readonly string[];
  /** Why they could not be told at the last attempt: a code, or words; "" if they could. */
  readonly failure: string;
}

export interface NamesListener {
  /** For the first time, and whenever it changes. */
  resolved(host: string, known: KnownName): void;
}

interface Entry {
  known: KnownName | undefined;
  askedAt: number;
  isAsked: boolean;
  failures: number;
  timer: NodeJS.Timeout | undefined;
}

export class TargetNames {
  private readonly listener: NamesListener;
  private readonly entries: Map<string, Entry> = new Map();
  private servers: readonly Server[] | undefined;
  private resolver: NameResolver = new NameResolver(undefined);

  constructor(listener: NamesListener) {
    this.listener = listener;
  }

  /** These names from now on. Those that are known already stay so, unless others are to be asked. */
  configure(hosts: ReadonlySet<string>, servers: readonly Server[] | undefined): void {
    const isOther = JSON.stringify(servers) !== JSON.stringify(this.servers);
    if (isOther) {
      this.resolver.close();
      this.resolver = new NameResolver(servers);
      this.servers = servers;
    }
    for (const [host, entry] of this.entries) if (!hosts.has(host)) this.forget(host, entry);
    for (const host of hosts) {
      const entry = this.entries.get(host);
      if (entry === undefined) {
        const fresh = { known: undefined, askedAt: 0, isAsked: false, failures: 0, timer: undefined };
        this.entries.set(host, fresh);
        this.ask(host, fresh);
      } else if (isOther) {
        entry.isAsked = false;
        this.ask(host, entry);
      }
    }
  }

  /** Undefined as long as nothing has been answered. */
  known(host: string): KnownName | undefined {
    return this.entries.get(host)?.known;
  }

  /** Resolves when each name has been answered for, or its servers have failed, or after `patience` milliseconds. */
  async settled(patience: number): Promise<void> {
    const until = performance.now() + patience;
    const isOpen = () => [...this.entries.values()].some(({ known }) => known === undefined);
    while (isOpen() && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY));
  }

  /** Something at the name could not be reached: it may be elsewhere by now. */
  again(host: string): void {
    const entry = this.entries.get(host);
    if (entry !== undefined && !entry.isAsked && performance.now() - entry.askedAt >= SHORTEST) this.ask(host, entry);
  }

  close(): void {
    for (const [host, entry] of this.entries) this.forget(host, entry);
    this.resolver.close();
  }

  private forget(host: string, entry: Entry): void {
    clearTimeout(entry.timer);
    this.entries.delete(host);
  }

  private ask(host: string, entry: Entry): void {
    const { resolver } = this;
    clearTimeout(entry.timer);
    entry.isAsked = true;
    entry.askedAt = performance.now();
    const isWanted = () => this.entries.get(host) === entry && this.resolver === resolver;
    resolver.resolve(host).then(
      (resolved) => isWanted() && this.answered(host, entry, resolved),
      (error) => isWanted() && this.failed(host, entry, error),
    );
  }

  private answered(host: string, entry: Entry, { addresses, ttl }: Resolved): void {
    if (addresses.length > 0) {
      entry.failures = 0;
      this.learn(host, entry, { addresses, failure: "" }, Math.min(LONGEST, Math.max(SHORTEST, ttl)));
    } else {
      // An answer, too: whoever had the name has it no more.
      this.learn(host, entry, { addresses, failure: "the name has no address" }, retryAfter(entry.failures++));
    }
  }

  private failed(host: string, entry: Entry, error: NodeJS.ErrnoException): void {
    const failure = `the name cannot be resolved (${error.code ?? error.message})`;
    this.learn(host, entry, { addresses: entry.known?.addresses ?? [], failure }, retryAfter(entry.failures++));
  }

  private learn(host: string, entry: Entry, known: KnownName, again: number): void {
    const before = entry.known;
    entry.known = known;
    entry.isAsked = false;
    entry.timer = setTimeout(() => this.ask(host, entry), again).unref();
    if (before === undefined || !isSame(before, known)) this.listener.resolved(host, known);
  }
}

function retryAfter(failures: number): number {
  return Math.min(LAST_RETRY, FIRST_RETRY * 2 ** Math.min(failures, 16));
}

/** Servers give the same addresses in another order each time. */
function isSame(a: KnownName, b: KnownName): boolean {
  const of = ({ addresses, failure }: KnownName) => [failure, ...[...addresses].sort()].join();
  return of(a) === of(b);
}
