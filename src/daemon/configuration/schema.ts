/**
 * The configuration file: every key, its type, unit, default and meaning. The only place that says so: checking, the
 * JSON Schema for editors (`sni-handoff schema`) and the program's own types come from here.
 */
import { z } from "zod";
import { MAX_PATTERNS } from "../../routing/patterns.js";
import {
  account,
  addressBlock,
  beginning,
  count,
  duration,
  flag,
  found,
  listenAddress,
  loopbackAddress,
  mode,
  oneOf,
  oneOrMore,
  pattern,
  port,
  protocolName,
  relayTarget,
  SERVER_FORM,
  serverAddress,
  size,
  text,
  tlsVersion,
} from "./scalars.js";
import { RELAY_TARGET_FORM } from "./targets.js";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const map = (what: string) => ({
  error: (issue: { code?: string; input?: unknown }) =>
    issue.code === "invalid_type" ? found(issue.input, what) : undefined,
});

const backendReference = () => text("the name of a backend");

/** The key that tells a backend's kind; in the order of the union's options. */
export const BACKEND_KINDS = ["handoff", "relay", "reject"] as const;

const ONE_OF_KINDS = `a map with the key ${BACKEND_KINDS.slice(0, -1).join(", ")} or ${BACKEND_KINDS.at(-1)}`;

const listener = z
  .strictObject(
    {
      address: listenAddress().describe(
        'Address and port: "[::]:443" takes IPv6 and, unless v6Only, IPv4 too; "0.0.0.0:443" IPv4; "*:443" everything that the kernel has. Port 0 takes any free one.',
      ),
      protocol: oneOf(["tls", "http"])
        .default("tls")
        .describe("What clients speak: tls is routed by server name; http, without TLS, by host, as `http` says."),
      backlog: count("connections", { min: 1, max: 1_048_576 })
        .default(4096)
        .describe("Connections that may wait to be accepted. The kernel caps it at net.core.somaxconn."),
      v6Only: flag().default(false).describe("An IPv6 address takes no IPv4 connections (IPV6_V6ONLY)."),
      freebind: flag().default(false).describe("Bind an address that the host doesn't have yet (IP_FREEBIND)."),
      deferAccept: duration({ min: 0, max: MINUTE })
        .optional()
        .describe(
          "How long the kernel keeps a connection to itself until its first bytes are there (TCP_DEFER_ACCEPT, whole seconds, rounded up). 0 turns it off. Default: 1s; 0 if there is `silent`, whose time begins only then.",
        ),
      keepAlive: flag().default(false).describe("Accepted sockets have SO_KEEPALIVE set, as backends then find it."),
      acceptProxyProtocol: z
        .array(addressBlock(), { error: ({ input }) => found(input, "a list of blocks of addresses") })
        .min(1, "found an empty list; allowed: at least one block of addresses")
        .optional()
        .describe(
          "Blocks of addresses (CIDR) of load balancers: what comes from there begins with a PROXY header, version 1 or 2, which tells the client's address. Default: nobody's does.",
        ),
    },
    map("a map with the key address"),
  )
  .describe("A TCP address that clients connect to.");

/** Keys of every backend that is handed connections. */
const held = {
  hold: duration({ min: 0, max: HOUR })
    .prefault("5s")
    .describe("How long a connection is kept when no instance, or no target, can take it. 0 keeps none."),
  maxHeld: count("connections", { min: 0, max: 1_000_000 })
    .default(10_000)
    .describe("Most connections kept at once for this backend."),
  maxHeldPerClient: count("connections", { min: 0, max: 1_000_000 })
    .default(1000)
    .describe("Most of them from one client address (an IPv6 /64)."),
};
const balance = oneOf(["round-robin", "least-connections"])
  .default("round-robin")
  .describe("How connections are spread over the instances, by their weights, or over the targets.");
const shared = {
  maxConnections: count("connections", { min: 0, max: 10_000_000 })
    .default(0)
    .describe("Most connections that the backend has open at once; more are held. 0: no limit."),
  fallback: backendReference()
    .optional()
    .describe(
      "Backend that takes what cannot be delivered here within the hold time. Default: none, the client gets the alert internal_error.",
    ),
};

const handoffBackend = z
  .strictObject(
    {
      handoff: text('a unix socket\'s path, a folder ending in "/", or "@name" for an abstract address').describe(
        'Where the backend\'s processes take sockets over: a unix socket\'s path; a folder (ending in "/") in which every socket is an instance; or "@name", an abstract address. Relative to this file.',
      ),
      protocol: oneOf(["handoff", "datagram"])
        .default("handoff")
        .describe(
          "How: by the handoff protocol, or in datagrams, as sni-router and tarweb take them, without acknowledgement and with the hello read.",
        ),
      maxHello: size({ min: 512, max: 65_536 })
        .prefault("64KiB")
        .describe(
          "With datagrams: most bytes of a ClientHello that the backend takes; longer ones go to the fallback, or are refused. tarweb takes 2KiB.",
        ),
      balance,
      ...held,
      acknowledgeTimeout: duration({ min: 10, max: 10 * MINUTE })
        .prefault("500ms")
        .describe(
          "An instance that leaves a connection unacknowledged for so long loses it to another instance, and gets no more.",
        ),
      connect: oneOf(["eagerly", "lazily"])
        .default("eagerly")
        .describe("When instances are connected to: at the start, or with the first connection for this backend."),
      ...shared,
      user: account("user")
        .optional()
        .describe(
          "User (name or number) whose processes may be instances, beside root and the owner of the path; with datagrams, who may own the path beside root and the door's user. Default: no other.",
        ),
    },
    map(ONE_OF_KINDS),
  )
  .describe("A backend whose processes take the sockets over.");

const REJECTIONS = ["unrecognized_name", "access_denied", "internal_error", "close", "reset"] as const;
const relayBackend = z
  .strictObject(
    {
      relay: z
        .union(
          [
            relayTarget(),
            z.array(relayTarget()).min(1, `found an empty list; allowed: ${RELAY_TARGET_FORM}, or a list of such`),
          ],
          {
            error: ({ input }) => found(input, `${RELAY_TARGET_FORM}, or a list of such`),
          },
        )
        .describe(
          'Where the relay connects to, for servers that cannot take sockets over: "host:port", "[IPv6 address]:port" or "unix:/path", or a list of such. Names are resolved again and again, by their TTL.',
        ),
      proxyProtocol: oneOf(["none", "v1", "v2"])
        .default("none")
        .describe(
          "The PROXY protocol header that tells a target the client's address; v2 also server name, ALPN and the connection's id. The target must expect it.",
        ),
      balance,
      connectTimeout: duration({ min: 10, max: 10 * MINUTE })
        .prefault("3s")
        .describe(
          "How long a target may take to accept a connection, all its addresses together; then the next one is tried.",
        ),
      idleTimeout: duration({ min: 0, max: 30 * DAY })
        .prefault("10m")
        .describe("A connection without a byte in either direction for so long is ended. 0: never."),
      lifetime: duration({ min: 0, max: 30 * DAY })
        .prefault(0)
        .describe("A connection that is older is ended. 0: never."),
      keepAlive: flag().default(true).describe("Both sides of a connection have SO_KEEPALIVE set."),
      ...held,
      ...shared,
    },
    map(ONE_OF_KINDS),
  )
  .describe("A backend that the relay connects to: it moves the bytes.");

const rejectBackend = z
  .strictObject(
    {
      reject: oneOf(REJECTIONS).describe(
        "How to refuse: a TLS alert by its name (RFC 8446 §6), close (end of stream) or reset (TCP RST).",
      ),
    },
    map(ONE_OF_KINDS),
  )
  .describe("A backend that refuses its clients.");

/** A map without any of the keys that are needed. */
function withKeys(input: unknown): string {
  if (typeof input !== "object" || input === null || Array.isArray(input)) return "";
  return Object.keys(input).length === 0 ? " without keys" : ` with ${Object.keys(input).join(", ")}`;
}

const BACKEND_NAME = "letters, digits, '.', '_' and '-', beginning with a letter or digit, at most 64";

const backend = z.union([handoffBackend, relayBackend, rejectBackend], {
  error: ({ input }) => found(input, ONE_OF_KINDS, withKeys(input)),
});

const backends = z
  .record(
    z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, {
      error: ({ input }) => found(input, `as a backend's name ${BACKEND_NAME}`),
    }),
    backend,
    map("a map of backends by their names"),
  )
  .default({})
  .describe(`Where connections go, by name (${BACKEND_NAME}).`);

const addressBlocks = () => oneOrMore(addressBlock(), "a block of addresses, or a list of such", 0);

const access = z
  .strictObject(
    {
      allow: addressBlocks()
        .optional()
        .describe("Blocks of addresses (CIDR): clients outside are refused. Default: all may come."),
      deny: addressBlocks()
        .optional()
        .describe("Blocks of addresses whose clients are refused, even if allowed. Default: none."),
      reject: oneOf(REJECTIONS).default("access_denied").describe("How to refuse, as of a backend."),
    },
    map("a map with the keys allow and deny"),
  )
  .describe("Who may use the route. No condition: the route is taken, then the client refused. Default: everybody.");

/** Where to, under which conditions. */
const rule = z
  .strictObject(
    {
      backend: backendReference().describe("Where it leads."),
      alpn: oneOrMore(protocolName(), "a protocol's name, or a list of such")
        .optional()
        .describe("Holds if the client offers one of these protocols (ALPN). Default: whatever it offers."),
      clients: addressBlocks()
        .optional()
        .describe("Holds if the client's address is in one of these blocks (CIDR). Default: from everywhere."),
      tls: oneOrMore(tlsVersion(), 'a version such as "1.3", or a list of such')
        .optional()
        .describe(
          "Holds if the highest version of TLS that the client offers is one of these. Default: every version.",
        ),
      access: access.optional(),
    },
    map("a map with the key backend"),
  )
  .describe("A route that is taken if all its conditions hold.");

/** Most rules of one route: the access log has a byte for which it was. */
const MAX_RULES = 250;

const TARGET_FORM = "the name of a backend, a rule (a map with the key backend), or a list of rules";

const target = () =>
  z.union(
    [
      backendReference(),
      rule,
      z
        .array(rule)
        .min(1, `found an empty list; allowed: ${TARGET_FORM}`)
        .max(MAX_RULES, `found too many rules; allowed: at most ${MAX_RULES}`),
    ],
    { error: ({ input }) => found(input, TARGET_FORM) },
  );

const routes = z
  .record(z.string(), target(), map('a map of server names, or "*." and a parent domain, to backends'))
  .prefault({})
  .describe(
    'Server name to backend: "app.example.com", or "*.example.com" for the names below example.com. An exact name wins over a wildcard, a longer wildcard over a shorter one. Instead of a backend a rule, or a list of rules: the first whose conditions hold wins; if none does, the next less specific route.',
  );

const patterns = z
  .array(
    rule.extend({
      match: pattern().describe("Regular expression (RE2) that the whole name must match; letter case is ignored."),
    }),
    { error: ({ input }) => found(input, "a list of maps with the keys match and backend") },
  )
  .max(MAX_PATTERNS, `found too many patterns; allowed: at most ${MAX_PATTERNS}`)
  .prefault([])
  .describe("Regular expressions for names without a route: the first that matches, and whose conditions hold, wins.");

const maps = z
  .array(text("a file's path"), { error: ({ input }) => found(input, "a list of files") })
  .default([])
  .describe('Files with a line "name backend" for each route, for very many names. Relative to this file.');

/** A file that another one includes. */
export const includedSchema = z.strictObject(
  { backends, routes, maps },
  map("a map with the keys backends, routes and maps"),
);

const timeouts = z
  .strictObject(
    {
      hello: duration({ min: 100, max: 10 * MINUTE })
        .prefault("5s")
        .describe("How long a client may take to complete its ClientHello, or the head of its request, from accept."),
      drain: duration({ min: 0, max: HOUR })
        .prefault("10s")
        .describe("How long connections that wait or are held may take to finish when the door stops."),
      upgrade: duration({ min: SECOND, max: HOUR })
        .prefault("30s")
        .describe("How long a new version may take to be ready in an upgrade; after it the running one stays."),
    },
    map("a map of durations"),
  )
  .prefault({})
  .describe("How long things may take.");

const limits = z
  .strictObject(
    {
      hello: size({ min: 1024, max: 65_536 })
        .prefault("16KiB")
        .describe(
          "Most bytes of a ClientHello, with its record headers, or of a request's head. Clients with a longer one are refused.",
        ),
      waiting: count("connections", { min: 1, max: 1_000_000 })
        .default(10_000)
        .describe("Most connections that wait for a ClientHello or a request's head, all workers together."),
      waitingPerClient: count("connections", { min: 1, max: 1_000_000 })
        .default(1000)
        .describe("Most of them from one client address (an IPv6 /64)."),
      held: count("connections", { min: 0, max: 1_000_000 })
        .default(20_000)
        .describe("Most connections held at once, all backends together."),
      acceptRate: count("connections a second", { min: 0, max: 1_000_000 })
        .default(0)
        .describe("Connections a second from one client address (an IPv6 /64), all workers together. 0: no limit."),
      acceptBurst: count("connections", { min: 1, max: 1_000_000 })
        .default(100)
        .describe("How many connections one client address may open at once above acceptRate."),
    },
    map("a map of limits"),
  )
  .prefault({})
  .describe("How much there may be of things.");

const control = z
  .union(
    [
      text("a unix socket's path"),
      z.strictObject(
        {
          path: text("a unix socket's path").describe("The socket's path. Relative to this file."),
          mode: mode()
            .default("0660")
            .describe("Who may connect, and with that stop and reload: the socket's permissions."),
          group: account("group")
            .optional()
            .describe("The socket's group (name or number). Default: as the process's."),
        },
        map("a map with the key path"),
      ),
    ],
    { error: ({ input }) => found(input, "a unix socket's path, or a map with the key path") },
  )
  .optional()
  .describe("Unix socket for status, metrics, reload and the like (HTTP); its path, or a map. Default: there is none.");

const metrics = z
  .strictObject(
    {
      address: loopbackAddress().describe(
        "Loopback address and port where Prometheus finds the metrics: they aren't encrypted and ask nobody who they are. They are on the control socket as well.",
      ),
    },
    map("a map with the key address"),
  )
  .optional()
  .describe("Metrics over TCP. Default: on the control socket only.");

const httpRoutes = z
  .record(z.string(), backendReference(), map('a map of hosts, or "*." and a parent domain, to backends'))
  .default({})
  .describe("Host to backend, written and matched as `routes` are.");

const redirect = z
  .union(
    [
      oneOf(["https"]),
      z.strictObject(
        {
          to: oneOf(["https"]).describe("The scheme to redirect to."),
          port: port().default(443).describe("Port of the URLs that clients are sent to."),
        },
        map("a map with the keys to and port"),
      ),
    ],
    { error: ({ input }) => found(input, "https, or a map with the keys to and port") },
  )
  .optional()
  .describe(
    "https: the door answers requests for hosts that `http.routes` doesn't name with 308 to the same URL by https; or a map. Default: it does not.",
  );

const http = z
  .strictObject(
    {
      routes: httpRoutes,
      default: backendReference()
        .optional()
        .describe(
          "Backend of requests that neither a route nor the redirect takes: those without a host name, for example. Default: refused with 421, or 400 if there is a redirect.",
        ),
      redirect,
      acmeChallenge: backendReference()
        .optional()
        .describe(
          "Backend of requests for /.well-known/acme-challenge/ (RFC 8555 §8.3), whatever their host. Default: they are as others.",
        ),
    },
    map("a map with the keys routes, default, redirect and acmeChallenge"),
  )
  .optional()
  .describe("Where requests go that come by listeners with `protocol: http`. Default: they are refused.");

const accessLog = z
  .union(
    [
      oneOf(["all", "errors", "off"]),
      z.strictObject(
        {
          sample: count("connections", { min: 1, max: 1_000_000 }).describe(
            "One connection in so many is logged, and every one that was not handed over.",
          ),
        },
        map("a map with the key sample"),
      ),
    ],
    { error: ({ input }) => found(input, "all, errors, off, or a map with the key sample") },
  )
  .default("errors")
  .describe(
    "Which connections have a line in the log: all; those that were not handed over (errors); none (off); a sample.",
  );

const relay = z
  .strictObject(
    {
      folder: text("a folder's path")
        .optional()
        .describe(
          "Folder of the relay's sockets, by which doors find it: the relay makes it, and only the relay's user may write there. Relative to this file. Default: beside the control socket, by its name (`control.relay/` for `control.sock`); without one, in $XDG_RUNTIME_DIR/sni-handoff/, else in /run/sni-handoff/, by this file's path.",
        ),
      workers: count("threads", { min: 1, max: 128 })
        .optional()
        .describe("Threads that move bytes. Default: as `workers`."),
      control: text("a unix socket's path")
        .optional()
        .describe(
          "Unix socket for the relay's status, metrics and reload (HTTP), beside `.control.sock` in its folder. Relative to this file. Default: no second one.",
        ),
      start: flag()
        .default(true)
        .describe(
          "The door starts a relay if backends need one and there is none. It outlives the door. false where a service manager does that.",
        ),
      drain: duration({ min: 0, max: 30 * DAY })
        .prefault("10m")
        .describe("How long connections may go on when the relay is told to end, or another one takes its place."),
      resolvers: z
        .array(serverAddress(), { error: ({ input }) => found(input, `a list of ${SERVER_FORM}`) })
        .min(1, `found an empty list; allowed: at least one of ${SERVER_FORM}`)
        .optional()
        .describe(
          "DNS servers that are asked for names of targets: a list of addresses with their ports. Default: hosts(5), then the servers of resolv.conf(5).",
        ),
    },
    map("a map with the keys folder, workers, control, start, drain and resolvers"),
  )
  .prefault({})
  .describe("The relay: a process of its own, which moves the bytes of relay backends.");

const privileges = z
  .strictObject(
    {
      landlock: flag()
        .optional()
        .describe(
          "Leave the process only the folders that it needs (landlock(7)), where the kernel can. Default: true if there is a user or group, else false.",
        ),
      keepBindService: flag()
        .default(false)
        .describe("Keep CAP_NET_BIND_SERVICE, so that a reload can add a listener below port 1024."),
    },
    map("a map with the keys landlock and keepBindService"),
  )
  .prefault({})
  .describe("What the process may do once it has its sockets.");

const NOT_TLS_FORM = "the name of a backend, or a list of maps with the keys starts and backend";

const notTls = z
  .union(
    [
      backendReference(),
      z
        .array(
          z.strictObject(
            {
              starts: beginning()
                .optional()
                .describe(
                  "How they begin: http (a request of HTTP/1.x, or the preface of HTTP/2), ssh, or the bytes themselves, as text with \\xHH, \\r, \\n, \\t and \\\\. Default, of the last one only: however they do.",
                ),
              backend: backendReference().describe("Where they go."),
            },
            map("a map with the keys starts and backend"),
          ),
        )
        .min(1, `found an empty list; allowed: ${NOT_TLS_FORM}`)
        .max(64, "found too many; allowed: at most 64")
        .superRefine((rules, context) => {
          const last = rules.findIndex(({ starts }) => starts === undefined);
          if (last < 0 || last === rules.length - 1) return;
          const message = "is never reached: the one before takes all; allowed: one without starts, at the end";
          context.addIssue({ code: "custom", path: [last + 1], message });
        }),
    ],
    { error: ({ input }) => found(input, NOT_TLS_FORM) },
  )
  .optional()
  .describe(
    "Backend of clients whose first bytes are no TLS; or a list, of which the first one counts that says how they begin. Default: closed.",
  );

const silent = z
  .strictObject(
    {
      after: duration({ min: 10, max: 10 * MINUTE }).describe("How long they have been silent, from accept."),
      backend: backendReference().describe("Where they go."),
    },
    map("a map with the keys after and backend"),
  )
  .optional()
  .describe(
    "Where clients go that send nothing: those of protocols in which the server speaks first, such as SMTP. Default: they are waited for as others are.",
  );

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
      include: z
        .union([text("a file's path or pattern"), z.array(text("a file's path or pattern"))], {
          error: ({ input }) => found(input, "a file's path or pattern, or a list of such"),
        })
        .default([])
        .describe(
          "Files with more backends, routes and maps: a path, or a pattern with * and ? in its last part, or a list of such. Relative to this file.",
        ),
      backends,
      routes,
      maps,
      patterns,
      default: target()
        .optional()
        .describe(
          "Backend of names without a route, or rules as of a route. Default: refused with the alert unrecognized_name.",
        ),
      noServerName: target()
        .optional()
        .describe("Backend of TLS clients that send no server name, or rules as of a route. Default: as `default`."),
      notTls,
      silent,
      http,
      timeouts,
      limits,
      log: z
        .strictObject(
          {
            level: oneOf(["debug", "info", "warn", "error"]).default("info").describe("Least level that is logged."),
          },
          map("a map with the key level"),
        )
        .prefault({})
        .describe("The log."),
      accessLog,
      control,
      metrics,
      relay,
      user: account("user")
        .optional()
        .describe("User (name or number) to become once the listeners are open. Default: stays who it is."),
      group: account("group")
        .optional()
        .describe("Group (name or number) to become with it. Default: the user's primary group."),
      privileges,
      pidfile: text("a file's path")
        .optional()
        .describe("File to write the process's number to. Relative to this file. Default: none is written."),
    },
    map("a map with the keys listeners and backends"),
  )
  .describe("Configuration of sni-handoff.");

/** A configuration as the schema gives it out: durations in milliseconds, sizes in bytes, defaults filled in. */
export type ConfigurationInput = z.output<typeof configurationSchema>;

export type IncludedInput = z.output<typeof includedSchema>;

export type RuleInput = z.output<typeof rule>;

/** The name of a backend, a rule, or a list of rules. */
export type TargetInput = z.output<ReturnType<typeof target>>;
