/**
 * The configuration file: every key, its type, unit, default and meaning. The only place that says so: checking, the
 * JSON Schema for editors (`sni-handoff schema`) and the program's own types come from here.
 */
import { z } from "zod";
import { count, duration, flag, found, listenAddress, oneOf, size, text } from "./scalars.js";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

const map = (what: string) => ({
  error: (issue: { code?: string; input?: unknown }) =>
    issue.code === "invalid_type" ? found(issue.input, what) : undefined,
});

const backendReference = () => text("the name of a backend");

const listener = z
  .strictObject(
    {
      address: listenAddress().describe(
        'Address and port: "[::]:443" takes IPv6 and, unless v6Only, IPv4 too; "0.0.0.0:443" IPv4; "*:443" everything that the kernel has. Port 0 takes any free one.',
      ),
      backlog: count("connections", { min: 1, max: 1_048_576 })
        .default(4096)
        .describe("Connections that may wait to be accepted. The kernel caps it at net.core.somaxconn."),
      v6Only: flag().default(false).describe("An IPv6 address takes no IPv4 connections (IPV6_V6ONLY)."),
      freebind: flag().default(false).describe("Bind an address that the host doesn't have yet (IP_FREEBIND)."),
      deferAccept: duration({ min: 0, max: MINUTE })
        .prefault("1s")
        .describe(
          "How long the kernel keeps a connection to itself until its first bytes are there (TCP_DEFER_ACCEPT, whole seconds, rounded up). 0 turns it off.",
        ),
      keepAlive: flag().default(false).describe("Accepted sockets have SO_KEEPALIVE set, as backends then find it."),
    },
    map("a map with the key address"),
  )
  .describe("A TCP address that clients connect to.");

const handoffBackend = z
  .strictObject(
    {
      handoff: text('a unix socket\'s path, a folder ending in "/", or "@name" for an abstract address').describe(
        'Where the backend\'s processes take sockets over: a unix socket\'s path; a folder (ending in "/") in which every socket is an instance; or "@name", an abstract address. Relative to this file.',
      ),
      balance: oneOf(["round-robin", "least-connections"])
        .default("round-robin")
        .describe("How connections are spread over the instances, by their weights."),
      hold: duration({ min: 0, max: HOUR })
        .prefault("5s")
        .describe("How long a connection is kept when no instance can take it. 0 keeps none."),
      maxHeld: count("connections", { min: 0, max: 1_000_000 })
        .default(10_000)
        .describe("Most connections kept at once for this backend."),
      maxHeldPerClient: count("connections", { min: 0, max: 1_000_000 })
        .default(1000)
        .describe("Most of them from one client address (an IPv6 /64)."),
      acknowledgeTimeout: duration({ min: 10, max: 10 * MINUTE })
        .prefault("500ms")
        .describe(
          "An instance that leaves a connection unacknowledged for so long loses it to another instance, and gets no more.",
        ),
      fallback: backendReference()
        .optional()
        .describe(
          "Backend that takes what cannot be delivered here within the hold time. Default: none, the client gets the alert internal_error.",
        ),
      user: z
        .union([z.int().min(0).max(4_294_967_294), z.string().min(1)], {
          error: ({ input }) => found(input, "a user's name or number"),
        })
        .optional()
        .describe(
          "User (name or number) whose processes may be instances, beside root and the owner of the path. Default: no other.",
        ),
    },
    map("a map with the key handoff or reject"),
  )
  .describe("A backend whose processes take the sockets over.");

const rejectBackend = z
  .strictObject(
    {
      reject: oneOf(["unrecognized_name", "access_denied", "internal_error", "close", "reset"]).describe(
        "How to refuse: a TLS alert by its name (RFC 8446 §6), close (end of stream) or reset (TCP RST).",
      ),
    },
    map("a map with the key handoff or reject"),
  )
  .describe("A backend that refuses its clients.");

/** The key that tells a backend's kind; in the order of the union's options. */
export const BACKEND_KINDS = ["handoff", "reject"] as const;

/** A map without any of the keys that are needed. */
function withKeys(input: unknown): string {
  if (typeof input !== "object" || input === null || Array.isArray(input)) return "";
  return Object.keys(input).length === 0 ? " without keys" : ` with ${Object.keys(input).join(", ")}`;
}

const BACKEND_NAME = "letters, digits, '.', '_' and '-', beginning with a letter or digit, at most 64";

const backend = z.union([handoffBackend, rejectBackend], {
  error: ({ input }) => found(input, `a map with the key ${BACKEND_KINDS.join(" or ")}`, withKeys(input)),
});

export const configurationSchema = z
  .strictObject(
    {
      listeners: z
        .array(listener, { error: ({ input }) => found(input, "a list of listeners, each with an address") })
        .min(1, "found an empty list; allowed: at least one listener")
        .describe("Where clients connect."),
      workers: count("threads", { min: 1, max: 128 })
        .optional()
        .describe(
          "Threads that accept and hand over. Default: half of the processors that this process may use, at least 1 and at most 4.",
        ),
      backends: z
        .record(
          z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, {
            error: ({ input }) => found(input, `as a backend's name ${BACKEND_NAME}`),
          }),
          backend,
          map("a map of backends by their names"),
        )
        .describe(`Where connections go, by name (${BACKEND_NAME}).`),
      routes: z
        .record(z.string(), backendReference(), map('a map of server names, or "*." and a parent domain, to backends'))
        .default({})
        .describe(
          'Server name to backend: "app.example.com", or "*.example.com" for the names below example.com. An exact name wins over a wildcard, a longer wildcard over a shorter one.',
        ),
      maps: z
        .array(text("a file's path"), { error: ({ input }) => found(input, "a list of files") })
        .default([])
        .describe('Files with a line "name backend" for each route, for very many names. Relative to this file.'),
      default: backendReference()
        .optional()
        .describe("Backend of names without a route. Default: refused with the alert unrecognized_name."),
      noServerName: backendReference()
        .optional()
        .describe("Backend of TLS clients that send no server name. Default: as `default`."),
      notTls: backendReference()
        .optional()
        .describe("Backend of clients whose first bytes are no TLS. Default: closed."),
      timeouts: z
        .strictObject(
          {
            hello: duration({ min: 100, max: 10 * MINUTE })
              .prefault("5s")
              .describe("How long a client may take to complete its ClientHello, from accept."),
          },
          map("a map of durations"),
        )
        .prefault({})
        .describe("How long things may take."),
      limits: z
        .strictObject(
          {
            hello: size({ min: 1024, max: 65_536 })
              .prefault("16KiB")
              .describe("Most bytes of a ClientHello, with its record headers. Clients with a longer one are refused."),
          },
          map("a map of sizes"),
        )
        .prefault({})
        .describe("How much there may be of things."),
      log: z
        .strictObject(
          {
            level: oneOf(["debug", "info", "warn", "error"]).default("info").describe("Least level that is logged."),
          },
          map("a map with the key level"),
        )
        .prefault({})
        .describe("The log."),
    },
    map("a map with the keys listeners and backends"),
  )
  .describe("Configuration of sni-handoff.");

/** A configuration as the schema gives it out: durations in milliseconds, sizes in bytes, defaults filled in. */
export type ConfigurationInput = z.output<typeof configurationSchema>;
