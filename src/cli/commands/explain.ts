import { isIP } from "node:net";
import { resolve } from "node:path";
import type { ClientFacts } from "../../daemon/configuration/client-facts.js";
import type { Configuration } from "../../daemon/configuration/index.js";
import type { InstanceStatus } from "../../daemon/status.js";
import { type Command, configOption } from "../command.js";
import { controlOf, controlOption } from "../control.js";
import { ExitStatus, usageError } from "../exit.js";

/** A daemon that doesn't answer in this time is passed over. Milliseconds. */
const PATIENCE = 2000;

export const explain: Command = {
  usage: "explain <name>",
  describe: "Say where a server name goes, over which other routes, and who takes it there now",
  positionals: {
    name: {
      type: "string",
      demandOption: true,
      describe: "Server name as a client sends it; case and a dot at the end don't matter",
    },
  },
  options: {
    ...configOption,
    alpn: {
      type: "string",
      requiresArg: true,
      nargs: 1,
      describe: "Protocol that the client offers; may be given several times. Default: not known",
    },
    client: {
      type: "string",
      requiresArg: true,
      nargs: 1,
      describe: "The client's address. Default: not known",
    },
    tls: {
      type: "string",
      choices: ["1.0", "1.1", "1.2", "1.3"],
      requiresArg: true,
      nargs: 1,
      describe: "Highest version of TLS that the client offers. Default: not known",
    },
    json: {
      type: "boolean",
      describe: "One JSON object instead of text. Default: false",
    },
    http: {
      type: "boolean",
      describe: "What becomes of a request without TLS to this host: what `http` says. Default: false",
    },
    path: {
      type: "string",
      describe: "With --http: the path of the request. Default: /",
    },
    control: {
      ...controlOption.control,
      describe: "Socket of the daemon that is asked for instances, if it runs. Default: control of --config",
    },
  },
  examples: [
    ["$0 explain shop.example.com --config front-door.yaml", ""],
    [
      "$0 explain shop.example.com --client 192.0.2.7 --alpn h2 --config front-door.yaml",
      "Where routes have conditions",
    ],
    ["$0 explain shop.example.com --http --path /cart --config front-door.yaml", "By listeners with protocol: http"],
  ],
  async run(args) {
    const { loadConfiguration } = await import("../../daemon/configuration/index.js");
    const { describeBackend, explainName, explanationLines } = await import("../../daemon/configuration/explain.js");
    if (args.path !== undefined && args.http !== true) throw usageError("--path is for --http");
    if (args.http === true && (args.alpn ?? args.client ?? args.tls) !== undefined)
      throw usageError("--alpn, --client and --tls are for TLS, not for --http");
    if (args.path !== undefined && !String(args.path).startsWith("/"))
      throw usageError(`--path: found "${args.path}"; allowed: a path that begins with "/"`);
    const configuration = await loadConfiguration(args.config as string);
    if (args.http === true) return explainHttp(configuration, args);
    let explained: ReturnType<typeof explainName>;
    try {
      explained = explainName(configuration, String(args.name), clientFacts(args));
    } catch (error) {
      throw error instanceof RangeError ? usageError(error.message) : error;
    }
    const { backend } = explained;
    const instances = backend.kind !== "reject" ? await instancesOf(backend.name, args) : undefined;
    const lines = args.json
      ? [JSON.stringify({ ...explained, instances })]
      : [
          ...explanationLines(explained),
          `  backend  ${describeBackend(backend, configuration.door.backends)}`,
          ...(instances === undefined ? [] : describeInstances(instances)),
        ];
    process.stdout.write(lines.map((line) => `${line}\n`).join(""));
    return ExitStatus.DONE;
  },
};

/** Throws a usage error for what is no address. */
function clientFacts({ alpn, client, tls }: Readonly<Record<string, unknown>>): ClientFacts {
  const facts = {
    alpn: alpn === undefined ? undefined : [alpn as string | string[]].flat(),
    tls: typeof tls === "string" ? 0x0301 + Number(tls.slice(2)) : undefined,
  };
  if (typeof client !== "string") return facts;
  const family = ({ 4: "IPv4", 6: "IPv6" } as const)[isIP(client)];
  if (family === undefined)
    throw usageError(`--client: found "${client}"; allowed: an address such as 192.0.2.7 or 2001:db8::7`);
  return { ...facts, client: { family, address: client } };
}

async function explainHttp(configuration: Configuration, args: Readonly<Record<string, unknown>>): Promise<number> {
  const { describeBackend } = await import("../../daemon/configuration/explain.js");
  const { explainRequest } = await import("../../daemon/configuration/explain-http.js");
  let explained: ReturnType<typeof explainRequest>;
  try {
    explained = explainRequest(configuration, String(args.name), (args.path as string | undefined) ?? "/");
  } catch (error) {
    throw error instanceof RangeError ? usageError(error.message) : error;
  }
  const { name, path, by, pattern, over, backend, answer } = explained;
  const instances = backend?.kind === "handoff" ? await instancesOf(backend.name, args) : undefined;
  const lines = args.json
    ? [JSON.stringify({ ...explained, instances })]
    : [
        `http://${name}${path} -> ${backend?.name ?? answer}`,
        `  by       ${by === "none" ? "no key of http" : `http.${by}`}${pattern === undefined ? "" : ` ${pattern}`}`,
        ...over.map(({ pattern, backend }, index) => `  ${index === 0 ? "over" : "    "}     ${pattern} -> ${backend}`),
        ...(backend === undefined
          ? []
          : [`  backend  ${describeBackend(backend, configuration.door.backends, "http")}`]),
        ...(instances === undefined ? [] : describeInstances(instances)),
      ];
  process.stdout.write(lines.map((line) => `${line}\n`).join(""));
  return ExitStatus.DONE;
}

/** Those that the daemon which runs with this configuration sees; undefined if none answers. */
async function instancesOf(
  backend: string,
  args: Readonly<Record<string, unknown>>,
): Promise<readonly InstanceStatus[] | undefined> {
  const file = args.config as string;
  const control = typeof args.control === "string" ? args.control : await controlOf(file);
  if (control === undefined) return undefined;
  const { askStatus } = await import("../../daemon/control/client.js");
  const { HandoffError } = await import("../../errors.js");
  try {
    const { configuration, backends } = await askStatus(control, { timeout: PATIENCE });
    if (configuration.file !== resolve(file)) return undefined;
    return backends.find(({ name }) => name === backend)?.instances;
  } catch (error) {
    if (error instanceof HandoffError) return undefined;
    throw error;
  }
}

function describeInstances(instances: readonly InstanceStatus[]): string[] {
  const ready = instances.filter(({ state }) => state === "ready");
  const head = ready.length === 0 ? "nobody takes it" : `${ready.length} of ${instances.length} ready`;
  return [
    `  now      ${head}`,
    ...instances.map(({ path, state, pid, lastFailure }) => {
      const facts = [state, pid > 0 ? `process ${pid}` : "", state === "ready" ? "" : lastFailure];
      return `           ${path}: ${facts.filter(Boolean).join(", ")}`;
    }),
  ];
}
