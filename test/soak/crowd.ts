/** Clients of one door: those that must be served, whatever happens, and those that nobody wants. */
import { Agent } from "node:https";
import type { Certificate } from "../support/certificates.js";
import { get } from "../support/https-client.js";
import { inParallel, RawClient } from "../support/raw-client.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";
import type { Chance } from "./random.js";

const END = Buffer.from("END\n");
const rest = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Asks over one connection from the begin to the end: through reloads, upgrades and restarts of others. */
export class Lasting {
  private readonly agent: Agent = new Agent({ keepAlive: true, maxSockets: 1 });
  private readonly loop: Promise<void>;
  private ending = false;
  asked = 0;

  constructor(port: number, certificate: Certificate, name: string) {
    this.loop = this.ask(port, certificate, name);
    this.loop.catch(() => {});
  }

  private async ask(port: number, certificate: Certificate, name: string): Promise<void> {
    let first: string | undefined;
    while (!this.ending) {
      const { client } = await get(port, certificate, "/", { name, agent: this.agent });
      first ??= client;
      if (client !== first) throw new Error(`a connection for ${name} was ended after ${this.asked} requests`);
      this.asked++;
      await rest(500);
    }
  }

  /** Throws if it was ended before. */
  async end(): Promise<void> {
    this.ending = true;
    try {
      await this.loop;
    } finally {
      this.agent.destroy();
    }
  }
}

/** From all over the loopback, so that no limit for one client is met. */
const somewhere = (chance: Chance) =>
  `127.${chance.between(1, 250)}.${chance.between(0, 250)}.${chance.between(1, 250)}`;

/** Sends its hello a byte at a time at first; then it says the rest and is served, goes away, or says no more. */
export async function slowClient(port: number, chance: Chance): Promise<void> {
  const name = chance.pick(["plain", "tar"]);
  const hello = Buffer.concat([buildHello({ serverName: `${name}.test` }), END]);
  const bytes = chance.between(1, 30);
  const end = chance.pick(["complete", "complete", "reset", "silent"] as const);
  const begun = performance.now();
  const client = await RawClient.connect(port, somewhere(chance));
  try {
    for (let i = 0; i < bytes; i++) {
      client.send(hello.subarray(i, i + 1));
      await rest(50);
    }
    if (end === "reset") return client.reset();
    if (end === "complete") client.send(hello.subarray(bytes));
    const reply = await within(client);
    if (end === "complete" && !reply.received.includes(`"name":"${name}"`)) {
      const seconds = (performance.now() - begun) / 1000;
      throw new Error(`a slow client for ${name} got "${reply.received}" and ${reply.end} after ${seconds} s`);
    }
  } finally {
    client.close();
  }
}

/** Many at once that are refused, or never meant it. */
export async function flood(port: number, chance: Chance): Promise<void> {
  const clients = Array.from({ length: chance.between(50, 400) }, () => [somewhere(chance), nuisance(chance)] as const);
  await inParallel(clients, 100, async ([address, bytes]) => {
    const client = await RawClient.connect(port, address);
    if (bytes === undefined) return client.reset();
    client.send(bytes);
    client.finish();
    await within(client);
    client.close();
  });
}

/** Bytes of a client that no backend gets; undefined: it says nothing, and is gone. */
function nuisance(chance: Chance): Uint8Array | undefined {
  const stranger = buildHello({ serverName: `x${chance.between(0, 1e9)}.unknown.test` });
  switch (chance.pick(["silence", "junk", "stranger", "torn", "huge", "altered"] as const)) {
    case "silence":
      return undefined;
    case "junk":
      return Buffer.from(Array.from({ length: chance.between(1, 2000) }, () => chance.between(0, 255)));
    case "stranger":
      return stranger;
    case "torn":
      return stranger.subarray(0, chance.between(1, stranger.length - 1));
    case "huge":
      return buildHello({ serverName: "pool.test", totalLength: 40_000 });
    case "altered": {
      const altered = Buffer.from(stranger);
      altered[chance.between(0, altered.length - 1)] = chance.between(0, 255);
      return altered;
    }
  }
}

/** What came back; nobody waits for ever. */
async function within(client: RawClient) {
  let reply: Awaited<RawClient["reply"]> | undefined;
  client.reply.then((value) => {
    reply = value;
  });
  return until("the door to end a connection", () => reply, 180_000);
}
