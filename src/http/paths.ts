/** Paths that mean something to a front door. */

/** Where the files of http-01 challenges are (RFC 8555 §8.3). */
export const ACME_CHALLENGE = "/.well-known/acme-challenge/";
