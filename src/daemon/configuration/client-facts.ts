/** What is known of a client that somebody asks about, and what rules say to it. */

import { ADDRESS_BYTES, type Address, writeAddress } from "../../addresses.js";
import { containsAddress } from "../../door/address-blocks.js";
import type { AccessSettings, RuleSettings } from "../../door/settings.js";
import { listed, versionText } from "./rule-text.js";

/** What is undefined is not known. */
export interface ClientFacts {
  /** Protocols that it offers. */
  readonly alpn?: readonly string[] | undefined;
  readonly client?: Pick<Address, "family" | "address"> | undefined;
  /** The highest version that it offers: 0x0304 for TLS 1.3. */
  readonly tls?: number | undefined;
}

/** Why the rule is passed over; undefined if all its conditions hold. */
export function whyNot({ alpn, clients, tls }: RuleSettings, facts: ClientFacts): string | undefined {
  const unknown: string[] = [];
  if (alpn !== undefined) {
    const wanted = alpn.map((each) => Buffer.from(each).toString());
    if (facts.alpn === undefined) unknown.push("the protocols that the client offers (--alpn)");
    else if (!wanted.some((each) => facts.alpn!.includes(each))) return `the client does not offer ${listed(wanted)}`;
  }
  if (clients !== undefined) {
    if (facts.client === undefined) unknown.push("the client's address (--client)");
    else if (!containsAddress(clients, packed(facts.client), 0))
      return `${facts.client.address} is not in ${listed(clients.written)}`;
  }
  if (tls !== undefined) {
    if (facts.tls === undefined) unknown.push("the client's version of TLS (--tls)");
    else if (!tls.includes(facts.tls))
      return `the client's version is ${versionText(facts.tls)}, not ${listed(tls.map(versionText))}`;
  }
  return unknown.length === 0 ? undefined : `depends on ${unknown.join(" and ")}`;
}

export interface AccessVerdict {
  /** Undefined: it depends on what is not known. */
  readonly allowed: boolean | undefined;
  readonly why: string;
}

export function judgeAccess({ allow, deny, reject }: AccessSettings, { client }: ClientFacts): AccessVerdict {
  if (client === undefined) return { allowed: undefined, why: "depends on the client's address (--client)" };
  const address = packed(client);
  const refused = (why: string) => ({ allowed: false, why: `${client.address} is refused (${reject}): ${why}` });
  if (deny !== undefined && containsAddress(deny, address, 0)) return refused(`it is in deny ${listed(deny.written)}`);
  if (allow !== undefined && !containsAddress(allow, address, 0))
    return refused(`it is not in allow ${listed(allow.written)}`);
  return { allowed: true, why: `${client.address} may` };
}

function packed({ family, address }: Pick<Address, "family" | "address">): Uint8Array {
  const bytes = new Uint8Array(ADDRESS_BYTES);
  writeAddress({ family, address, port: 0 }, bytes, 0);
  return bytes;
}
