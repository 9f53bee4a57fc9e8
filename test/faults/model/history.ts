/** What happened in a run, as far as a verdict has to know it: who was killed when, and which configuration was there. */
import { routes } from "./names.js";
import { now } from "./time.js";

interface Version {
  readonly version: number;
  readonly from: number;
  /** From when on another one is certainly in force. */
  until: number;
}

/** When SIGKILL was sent, and when the process was gone: what comes to it in between may still find its sockets. */
export interface Death {
  readonly from: number;
  to: number;
}

/** By process. */
export type Deaths = Map<number, Death>;

/** Notes when a process is killed, and is gone. */
export async function killing(deaths: Deaths, pid: number, kill: () => Promise<unknown>): Promise<void> {
  const death = { from: now(), to: Number.POSITIVE_INFINITY };
  deaths.set(pid, death);
  await kill();
  death.to = now();
}

export class History {
  readonly doorsKilled: Deaths = new Map();
  readonly instancesKilled: Deaths = new Map();
  readonly relaysKilled: Deaths = new Map();
  /** Backend of each process that was an instance. */
  readonly backendOf: Map<number, string> = new Map();
  private readonly versions: Version[] = [];
  private readonly byName: ReadonlyMap<string, (version: number) => readonly string[]> = new Map(
    routes.map(({ name, backends }) => [name, backends]),
  );

  /** A version is in its files. */
  written(version: number): void {
    this.versions.push({ version, from: now(), until: Number.POSITIVE_INFINITY });
  }

  /** This version is in force; earlier ones are not. */
  inForce(version: number): void {
    for (const each of this.versions) if (each.version < version) each.until = Math.min(each.until, now());
  }

  /** Who may have answered for a name between two times. */
  backends(name: string, from: number, to: number): ReadonlySet<string> {
    const lead = this.byName.get(name);
    const at = this.versions.filter((version) => version.from <= to && version.until >= from);
    return new Set(lead === undefined ? [] : at.flatMap(({ version }) => lead(version)));
  }

  /** Whether that process died between two times. */
  hasDied(deaths: Deaths, pid: number | undefined, from: number, to: number): boolean {
    const death = pid === undefined ? undefined : deaths.get(pid);
    return death !== undefined && death.to >= from && death.from <= to;
  }

  anyHasDied(deaths: Deaths, from: number, to: number): boolean {
    return [...deaths.keys()].some((pid) => this.hasDied(deaths, pid, from, to));
  }
}
