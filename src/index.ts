/**
 * The public API. Its parts can be imported by themselves: `sni-handoff/backend` (loads the native addon) and
 * `sni-handoff/client-hello` (pure).
 */
export * from "./backend/index.js";
export { ConfigurationError, type ErrorCode, type Problem } from "./errors.js";
export { type ClientHello, type ParsedClientHello, parseClientHello } from "./tls/index.js";
