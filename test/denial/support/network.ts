/** Two network namespaces with a cable between them: the door's, and that of whoever attacks it. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { Child } from "../../support/child.js";
import { program } from "../../support/programs.js";

/** The door's address, and the clients'. */
const DOOR = "10.9.0.1";
const CLIENTS = "10.9.0.2";

export class Network {
  readonly door: string = DOOR;
  private readonly inside: Child;
  private readonly outside: Child;

  private constructor(inside: Child, outside: Child) {
    this.inside = inside;
    this.outside = outside;
  }

  static async start(): Promise<Network> {
    const [inside, outside] = await Promise.all([namespace(), namespace()]);
    const network = new Network(inside, outside);
    network.run(network.doorPrefix, `ip link add cable type veth peer name cable netns ${outside.pid}`);
    for (const [prefix, own] of [
      [network.doorPrefix, DOOR],
      [network.clientPrefix, CLIENTS],
    ] as const) {
      network.run(prefix, "ip link set lo up");
      network.run(prefix, `ip addr add ${own}/24 dev cable`);
      network.run(prefix, "ip link set cable up");
      // What is sent to somebody who does not exist gets lost, and nobody hears of it.
      network.run(prefix, "echo 0 >/proc/sys/net/ipv4/ip_forward");
    }
    network.run(network.doorPrefix, `ip route add default via ${CLIENTS}`);
    return network;
  }

  /** Commands that run another one there. */
  get doorPrefix(): string[] {
    return prefixOf(this.inside);
  }

  get clientPrefix(): string[] {
    return prefixOf(this.outside);
  }

  /** A counter of the door's network: netstat of proc(5), "TcpExt", "SyncookiesSent". */
  counter(group: string, name: string): number {
    const lines = readFileSync(`/proc/${this.inside.pid}/net/netstat`, "latin1").split("\n");
    const [names, values] = lines.filter((line) => line.startsWith(`${group}:`)).map((line) => line.split(" "));
    return Number(values![names!.indexOf(name)]);
  }

  async end(): Promise<void> {
    await Promise.all([this.inside, this.outside].map((each) => each.end("SIGKILL")));
  }

  private run([command, ...args]: readonly string[], script: string): void {
    execFileSync(command!, [...args, "sh", "-c", script]);
  }
}

async function namespace(): Promise<Child> {
  const child = new Child(program("unshare"), ["--net", "sh", "-c", "echo made; exec sleep 100000"]);
  await child.line("a network namespace", (line) => line === "made");
  return child;
}

function prefixOf({ pid }: Child): string[] {
  return [program("nsenter"), "-t", `${pid}`, "-n", "--"];
}
