/** One name to its addresses, and for how long they hold: hosts(5), then DNS, then whatever else nsswitch.conf(5) has. */
import { ADDRCONFIG, promises as dns, NODATA, NOTFOUND } from "node:dns";
import { isIPv6 } from "node:net";
import { addressesInHosts } from "./hosts.js";

/** Answers without a TTL are taken to hold for so long. Milliseconds. */
const WITHOUT_TTL = 10_000;
/** For one server, and how often each is asked. Milliseconds. */
const SERVER_TIMEOUT = 2000;
const TRIES = 2;

export interface Server {
  readonly address: string;
  readonly port: number;
}

export interface Resolved {
  /** Numeric, in the order in which they are tried. Empty: the name has none. */
  readonly addresses: readonly string[];
  /** Milliseconds, as the servers say. */
  readonly ttl: number;
}

export class NameResolver {
  private readonly resolver: dns.Resolver = new dns.Resolver({ timeout: SERVER_TIMEOUT, tries: TRIES });
  private readonly isOwn: boolean;

  /** `servers`: nobody else is asked, and no file. Undefined: as the system resolves names. */
  constructor(servers: readonly Server[] | undefined) {
    this.isOwn = servers !== undefined;
    if (servers !== undefined) this.resolver.setServers(servers.map(formatServer));
  }

  /** Throws an error with a code (ESERVFAIL, ETIMEOUT …) if it cannot be told now. */
  async resolve(host: string): Promise<Resolved> {
    if (!this.isOwn) {
      const addresses = addressesInHosts(host);
      if (addresses.length > 0) return { addresses: interleaved(addresses), ttl: WITHOUT_TTL };
    }
    const answers = await Promise.allSettled([
      this.resolver.resolve6(host, { ttl: true }),
      this.resolver.resolve4(host, { ttl: true }),
    ]);
    const records = answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
    if (records.length > 0) {
      const ttl = Math.min(...records.map((record) => record.ttl)) * 1000;
      return { addresses: interleaved(records.map(({ address }) => address)), ttl };
    }
    const failures = answers.flatMap((answer) => (answer.status === "rejected" ? [answer.reason] : []));
    if (!this.isOwn) {
      const found = await dns.lookup(host, { all: true, hints: ADDRCONFIG, verbatim: true }).catch(() => []);
      if (found.length > 0) return { addresses: interleaved(found.map(({ address }) => address)), ttl: WITHOUT_TTL };
    }
    // One of the two families may be unknown while the other has nothing.
    const failure = failures.find(({ code }) => code !== NOTFOUND && code !== NODATA);
    if (failure !== undefined) throw failure;
    return { addresses: [], ttl: 0 };
  }

  /** Questions that are under way fail. */
  close(): void {
    this.resolver.cancel();
  }
}

/** IPv6 and IPv4 in turns, IPv6 first: one family that does not work costs one attempt (RFC 8305 §4). */
export function interleaved(addresses: readonly string[]): string[] {
  const six = addresses.filter(isIPv6);
  const four = addresses.filter((address) => !isIPv6(address));
  const longer = Math.max(six.length, four.length);
  return Array.from({ length: longer }, (_, i) => [six[i], four[i]])
    .flat()
    .filter((address) => address !== undefined);
}

function formatServer({ address, port }: Server): string {
  return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
}
