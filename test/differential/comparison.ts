/** Our reading of a hello beside another one's. */
import type { Facts } from "../tls/facts.js";
import type { Answer } from "./answer.js";

export type Kind =
  /** Never right: a client could be routed by one name and served by the other. */
  | "another name"
  | "another ALPN"
  /** Never right: what is only a part of a hello to us is one with a name, or without one, to them. */
  | "they accept what is partial"
  /** The same but for capitals and one dot at the end. */
  | "name not normalised"
  | "address as a name"
  | "only we accept"
  | "only they accept"
  | "we are done, they wait";

export type Verdict =
  | { readonly agreed: "accepted" | "not accepted" }
  | {
      readonly agreed: false;
      readonly kind: Kind;
      /** Our reason if we refuse, else their words or what they found. */
      readonly detail: string;
    };

/** `shown`: a text of ours as the peer shows it. */
export function compare(ours: Facts, theirs: Answer, shown = (text: string) => text): Verdict {
  if (theirs.status !== "accepts") {
    if (ours.status !== "done") return { agreed: "not accepted" };
    return theirs.status === "waits"
      ? { agreed: false, kind: "we are done, they wait", detail: "" }
      : { agreed: false, kind: "only we accept", detail: theirs.why };
  }
  if (ours.status === "partial")
    return { agreed: false, kind: "they accept what is partial", detail: `${theirs.name}` };
  if (ours.status === "notTls") return { agreed: false, kind: "only they accept", detail: "not TLS" };
  if (ours.status === "invalid") return { agreed: false, kind: "only they accept", detail: ours.reason };

  if (theirs.alpn !== undefined && JSON.stringify(theirs.alpn) !== JSON.stringify(ours.alpn.map(shown))) {
    return { agreed: false, kind: "another ALPN", detail: JSON.stringify(theirs.alpn) };
  }
  if (theirs.name === ours.serverName) return { agreed: "accepted" };
  const detail = JSON.stringify(theirs.name);
  if (theirs.name !== undefined && theirs.name.toLowerCase().replace(/\.$/, "") === ours.serverName) {
    return { agreed: false, kind: "name not normalised", detail };
  }
  if (theirs.name !== undefined && ours.ipLiteral && /^(?:[0-9.]+|[[\]0-9A-Fa-f:.]+)$/.test(theirs.name)) {
    return { agreed: false, kind: "address as a name", detail };
  }
  return { agreed: false, kind: "another name", detail };
}
