/** What a TLS implementation other than ours finds in a ClientHello. */

export type Answer =
  | {
      readonly status: "accepts";
      /** As it was found, one character a byte; undefined: none. */
      readonly name: string | undefined;
      /** One character a byte; undefined: it did not come to telling them. */
      readonly alpn: readonly string[] | undefined;
    }
  | {
      readonly status: "refuses";
      /** In its own words. */
      readonly why: string;
    }
  /** Wants more bytes. */
  | { readonly status: "waits" };

export interface Peer {
  readonly name: string;
  /** A text as this peer shows it, if that is not as it is. */
  shown?(text: string): string;
  /** The answers in the hellos' order. */
  ask(hellos: readonly Uint8Array[]): Promise<Answer[]>;
  end(): Promise<void>;
}
