/** What happens to doors and backends all the time, in seven strands of chance: what follows what is the seed's. */
import { request } from "node:http";
import { text } from "node:stream/consumers";
import { askStatus, askTo } from "../../src/daemon/control/client.js";
import type { RelayScene } from "../support/relay-scene.js";
import { flood, slowClient } from "./crowd.js";
import { Chance } from "./random.js";
import { FURTHER, type World } from "./world.js";

type Action = (chance: Chance) => Promise<void>;

const rest = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export class Upheaval {
  /** How often each thing happened. */
  readonly happened: Map<string, number> = new Map();
  private readonly world: World;
  private readonly seed: number;
  private ending = false;
  private hasFailed = false;

  constructor(world: World, seed: number) {
    this.world = world;
    this.seed = seed;
  }

  /**
   * Resolves after that many milliseconds, when each thing has happened, and what is then under way has its end; rejects
   * when something went wrong.
   */
  async run(milliseconds: number): Promise<void> {
    const { old, replaced } = this.world;
    const timer = setTimeout(() => {
      this.ending = true;
    }, milliseconds);
    const failures: unknown[] = [];
    // Whoever fails ends all, each after what it is at: what it began must not go on behind the test.
    const failed = (error: unknown) => {
      failures.push(error);
      this.ending = true;
      this.hasFailed = true;
    };
    try {
      const strands = [
        this.strand(1, { ...this.mending(old), ...this.looking(old) }),
        this.strand(2, { ...this.mending(replaced), ...this.looking(replaced), upgrade: () => this.upgrade() }),
        this.strand(3, this.restarting()),
        ...[old, replaced].flatMap(({ door }, i) => [
          this.strand(4 + i, { flood: (chance) => flood(door.port, chance) }),
          this.strand(6 + i, { "group of slow clients": (chance) => slowClients(door.port, chance) }),
        ]),
      ];
      await Promise.all(strands.map((strand) => strand.catch(failed)));
    } finally {
      clearTimeout(timer);
    }
    if (failures.length > 0) throw failures[0];
  }

  private async strand(number: number, actions: Readonly<Record<string, Action>>): Promise<void> {
    const chance = new Chance(this.seed + number);
    let deck: string[] = [];
    const left = new Set(Object.keys(actions));
    // Each happens once at least, however slow the machine is.
    while (!this.hasFailed && (!this.ending || left.size > 0)) {
      // Each happens before one happens again.
      if (deck.length === 0) deck = chance.shuffle(Object.keys(actions));
      const what = deck.pop()!;
      await actions[what]!(chance);
      this.happened.set(what, (this.happened.get(what) ?? 0) + 1);
      left.delete(what);
      await rest(chance.between(100, 1000));
    }
  }

  private mending(scene: RelayScene): Record<string, Action> {
    const { world } = this;
    return {
      reload: async (chance) => {
        scene.door.write(`${scene.head}${world.configuration(chance.between(0, FURTHER))}`);
        await this.told(scene, "reloaded");
      },
      "reload of a wrong file": async (chance) => {
        scene.door.write(
          `${scene.head}${world.configuration()}${chance.pick(["rutes: {}\n", "default: nobody\n", "{"])}`,
        );
        await this.told(scene, "reload.failed");
        // An upgrade reads it, too.
        scene.door.write(`${scene.head}${world.configuration()}`);
      },
    };
  }

  private async told(scene: RelayScene, event: string): Promise<void> {
    const line = await scene.door.reload();
    if (line.event !== event) throw new Error(`a reload: ${line.event}, not ${event}: ${line.message}`);
    scene.door.child.lines.length = 0;
  }

  private async upgrade(): Promise<void> {
    const { door } = this.world.replaced;
    const line = await door.upgrade();
    if (line.event !== "upgraded") throw new Error(`an upgrade failed: ${line.message}`);
    door.child.lines.length = 0;
  }

  private looking(scene: RelayScene): Record<string, Action> {
    return {
      "status and metrics": async () => {
        const control = `${scene.folder}/control.sock`;
        await askStatus(control, { timeout: 60_000 });
        await metricsOf(control);
      },
      "drained and undrained": async () => {
        const control = `${scene.folder}/control.sock`;
        for (const path of ["/drain/plain", "/undrain/plain"]) {
          const { ok, message } = await askTo(control, "POST", path, { timeout: 60_000 });
          if (!ok) throw new Error(`${path}: ${message}`);
        }
      },
    };
  }

  private restarting(): Record<string, Action> {
    const { world } = this;
    return {
      "instance restarted": async (chance) => {
        const at = chance.between(0, world.pool.length - 1);
        const { status, signal } = await world.pool[at]!.child.end("SIGINT");
        if (status !== 0) throw new Error(`an instance ended with ${status ?? signal}`);
        world.pool[at] = await world.startInstance();
      },
      "instance stopped and continued": async (chance) => {
        const instance = chance.pick(world.pool);
        instance.signal("SIGSTOP");
        await rest(chance.between(100, 2000));
        instance.signal("SIGCONT");
      },
      "backend killed": async () => {
        await world.brittle.kill();
        world.brittle = await world.startHttps("brittle");
      },
    };
  }
}

async function slowClients(port: number, chance: Chance): Promise<void> {
  const each = Array.from({ length: chance.between(5, 50) }, () => new Chance(chance.between(0, 2 ** 32 - 1)));
  await Promise.all(each.map((own) => slowClient(port, own)));
}

async function metricsOf(socketPath: string): Promise<void> {
  const said = await new Promise<string>((resolve, reject) => {
    const asked = request({ socketPath, path: "/metrics" }, (response) => text(response).then(resolve, reject));
    asked.on("error", reject).end();
  });
  if (!said.includes("sni_handoff_")) throw new Error(`these are no metrics: ${said.slice(0, 100)}`);
}
