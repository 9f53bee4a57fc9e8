/** Which names there are, and where they lead: the configuration, and what the verdict goes by. */

/** Where a name leads in each version of the configuration: backends that may answer; none: the client is refused. */
interface Route {
  readonly name: string;
  readonly backends: (version: number) => readonly string[];
}

const MAPPED = 20;

const always = (name: string, ...backends: readonly string[]): Route => ({ name, backends: () => backends });

export const routes: readonly Route[] = [
  always("app.test", "app"),
  always("a.pool.test", "pool"),
  always("b.c.pool.test", "pool"),
  always("data.test", "data"),
  always("relayed.test", "relayed"),
  // Nobody is there: its fallback answers.
  always("empty.test", "pool"),
  { name: "moving.test", backends: (version) => (version % 2 === 0 ? ["app"] : ["pool"]) },
  ...Array.from({ length: MAPPED }, (_, i) => ({
    name: `n${i}.map.test`,
    backends: (version: number) => ((i + version) % 2 === 0 ? ["app"] : ["pool"]),
  })),
];

/** Nothing takes it. */
export const UNKNOWN = "nobody.test";

export interface Places {
  readonly folder: string;
  readonly port: number;
  /** Of what the relay connects to. */
  readonly originPort: number;
}

/** How long an instance may leave a connection unacknowledged. Milliseconds. */
export const ACKNOWLEDGE_TIMEOUT = 400;
export const WORKERS = 2;
export const POOL = 3;

/**
 * The files of a version: no time is over while everything goes on as it should. `listeners`, which is needed, is last: so
 * no part of the file is right.
 */
export function configuration(version: number, { folder, port, originPort }: Places): { file: string; map: string } {
  const common = `hold: 90s, acknowledgeTimeout: ${ACKNOWLEDGE_TIMEOUT}ms`;
  const target = (name: string) => routes.find((route) => route.name === name)!.backends(version)[0];
  const file = `# version ${version}
workers: ${WORKERS}
accessLog: all
control: ${folder}/control.sock
timeouts: { hello: 90s, drain: 90s, upgrade: 90s }
limits: { waiting: 100000, held: 100000 }
relay: { start: false, drain: 90s }
backends:
  app: { handoff: ${folder}/app.sock, ${common} }
  pool: { handoff: ${folder}/pool/, ${common} }
  data: { handoff: ${folder}/data.sock, protocol: datagram, hold: 90s }
  relayed: { relay: "127.0.0.1:${originPort}", proxyProtocol: v1, hold: 90s }
  empty: { handoff: ${folder}/empty.sock, hold: 100ms, fallback: pool }
routes:
  app.test: app
  "*.pool.test": pool
  data.test: data
  relayed.test: relayed
  empty.test: empty
  moving.test: ${target("moving.test")}
maps: [names.map]
listeners: [{ address: "127.0.0.1:${port}" }]
`;
  const mapped = routes.filter(({ name }) => name.endsWith(".map.test"));
  return { file, map: mapped.map(({ name, backends }) => `${name} ${backends(version)[0]}\n`).join("") };
}
