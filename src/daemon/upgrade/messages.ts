/** What the two processes of an upgrade tell each other, over the IPC channel that Node gives to a child. */

/** The process that takes over to the one before it. */
export type FollowerMessage =
  /** Its configuration is loaded, its sockets are there: it could accept now. */
  | {
      readonly type: "prepared";
      /** It takes `end`. One of an earlier version does not, and is told by a signal. */
      readonly hearsEnd?: boolean;
    }
  /** It cannot, and ends. */
  | { readonly type: "failed"; readonly message: string }
  /** It accepts. */
  | { readonly type: "accepting" };

/** The process before to the one that takes over. */
export type LeaderMessage =
  /** Accept: the process before still does, too, until it hears `accepting`. */
  | { readonly type: "accept" }
  /**
   * The process before was told to end, so many times: that is meant for both. Not as a signal, since whoever sent one may
   * have sent it to both, as service managers do, and the second would end the new process at once.
   */
  | { readonly type: "end"; readonly times: number };
