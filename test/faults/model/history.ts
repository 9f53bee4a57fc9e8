/** What happened in a run, as far as a verdict has to know it: who was killed when, and which configuration was there. */
import { routes } from "./names.js";
import { now } from "./time.js";

interface Version {
  readonly version: number;
  readonly from: number;
  /** From when on another one is certainly in force. */
  until: number;
}

export class History {
  /** Process to time. */
  readonly doorsKilled: Map<number, number> = new Map();
  readonly instancesKilled: Map<number, number> = new Map();
  readonly relaysKilled: Map<number, number> = new Map();
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

  wasKilled(killed: ReadonlyMap<number, number>, pid: number | undefined, from: number, to: number): boolean {
    const at = pid === undefined ? undefined : killed.get(pid);
    return at !== undefined && at >= from && at <= to;
  }

  anyKilled(killed: ReadonlyMap<number, number>, from: number, to: number): boolean {
    for (const at of killed.values()) if (at >= from && at <= to) return true;
    return false;
  }
}
