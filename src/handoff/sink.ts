/** What a receiver gives its connections to: the interface between the protocol and Node's servers. */

/** Who serves the connections that a receiver owns. */
export interface Sink {
  /** `own` is all there is to it: no `deliver` follows. It must neither throw nor run anybody else's code. */
  readonly ownsAtOnce?: boolean;
  /** Connections open now, with those that are owned and not delivered yet. */
  open(): number;
  /** How many more may be taken now; 0 refuses them as overloaded. Infinity without a limit. */
  room(): number;
  /** No connection can be served any more: they are refused as draining. */
  closed(): boolean;
  /**
   * A connection is owned: its ACK was sent. Takes the descriptor over. `text` is its HANDOFF as a latin1 string; of a
   * datagram there is none, but `early`, the bytes that were read from the connection already and come first.
   * Returns false if it could not be used and was closed; else one `deliver` follows.
   */
  own(descriptor: number, text: string, early?: Buffer): boolean;
  /** Gives the oldest owned connection to whoever serves it. What this throws is the process's uncaught exception. */
  deliver(): void;
  /** All channels are gone: nothing more will come. */
  drained(): void;
}
