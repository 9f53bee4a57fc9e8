/** What a client's first bytes said, whichever protocol they are of: what is passed on and logged. */
export interface Greeting {
  /** The name is name[0..nameLength): lower case, without a dot at its end; none if nameLength is 0. */
  readonly name: Uint8Array;
  readonly nameLength: number;
  /** The first protocol of the ALPN list is source[alpnOffset..alpnOffset + alpnLength); none if alpnLength is 0. */
  readonly source: Uint8Array;
  readonly alpnOffset: number;
  readonly alpnLength: number;
  /** Highest version of TLS that was offered; 0: none. */
  readonly maxVersion: number;
  readonly ech: boolean;
}
