/** Routes and map files to a compiled table. */
import type { Stats } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { resolve } from "node:path";
import type { Problem } from "../../errors.js";
import { MapCounter, MapParser } from "../../routing/map-file.js";
import { type NameFault, normaliseName } from "../../routing/name.js";
import { FIRST_RULES_TARGET, RouteTableBuilder } from "../../routing/table.js";
import type { Outline, OutlinedRoute } from "./outline.js";
import { besideConfiguration, readFailure } from "./paths.js";
import { CHANGED, hasChanged, openRegular } from "./read.js";
import { show } from "./scalars.js";
import { formatPlace, type Place, type Report } from "./source.js";

const CHUNK_BYTES = 1 << 20;

export interface RouteSources {
  readonly outline: Outline;
  /** Memory of an earlier table that nobody reads any more, to be written again. */
  readonly region: SharedArrayBuffer | undefined;
}

export interface FilledBuilder {
  readonly builder: RouteTableBuilder;
  /** For each backend whether a route leads there. */
  readonly used: Uint8Array;
  /** The maps that were read, by their absolute names. */
  readonly files: readonly string[];
}

/**
 * Routes with an unknown backend are left out: they are reported elsewhere. Those with rules lead to their lists, which
 * are numbered in the order of the outline (rules.ts).
 */
export async function fillBuilder(
  { outline, region }: RouteSources,
  problem: Report,
  problems: Problem[],
  warnings: Problem[],
): Promise<FilledBuilder> {
  const maps = await openMaps(outline, problem);
  try {
    const buffer = Buffer.allocUnsafeSlow(maps.length > 0 ? CHUNK_BYTES : 0);
    const counter = new MapCounter();
    for (const { handle } of maps) {
      await eachChunk(handle, buffer, (chunk) => counter.push(chunk));
      counter.end();
    }
    const builder = new MarkingBuilder(
      {
        names: counter.names + outline.routes.length,
        nameBytes: counter.nameBytes + outline.routes.reduce((sum, { name }) => sum + name.length, 0),
      },
      undefined,
      region,
    );

    const backends = new Map(outline.backends.map(({ name }, index) => [name, index]));
    addRoutes(outline.routes, backends, builder, problem);
    for (const { name, handle, place, stats } of maps) {
      const parser = new MapParser({ file: name, backends, builder });
      await eachChunk(handle, buffer, (chunk) => parser.push(chunk));
      parser.end();
      if (hasChanged(stats, await handle.stat())) problem(place, `cannot use ${show(name)}: ${CHANGED}`);
      problems.push(...parser.errors);
      warnings.push(...parser.warnings);
    }
    return { builder, used: builder.used, files: maps.map(({ name }) => resolve(name)) };
  } finally {
    for (const { handle } of maps) await handle.close();
  }
}

/** Remembers which backends have routes. */
class MarkingBuilder extends RouteTableBuilder {
  used = new Uint8Array(256);

  override addBytes(bytes: Uint8Array, start: number, end: number, target: number): number | undefined {
    if (target >= FIRST_RULES_TARGET) return super.addBytes(bytes, start, end, target);
    if (target >= this.used.length) {
      const larger = new Uint8Array(target * 2);
      larger.set(this.used);
      this.used = larger;
    }
    this.used[target] = 1;
    return super.addBytes(bytes, start, end, target);
  }
}

/** Adds those that can be: names that are wrong, or there twice, are reported; `words`: what is said of a fault instead. */
export function addRoutes(
  routes: readonly OutlinedRoute[],
  backends: ReadonlyMap<string, number>,
  builder: RouteTableBuilder,
  problem: Report,
  words: Readonly<Partial<Record<NameFault, string>>> = {},
): void {
  let lists = 0;
  const written = new Map<string, OutlinedRoute>();
  for (const route of routes) {
    const { source, name, backend } = route;
    const target = backend === undefined ? FIRST_RULES_TARGET + lists++ : backends.get(backend);
    const normalised = normaliseName(name);
    if (!normalised.ok) {
      const said = words[normalised.fault];
      problem(route, said === undefined ? normalised.message : `${show(name)} ${said}`, "key");
      continue;
    }
    const first = written.get(normalised.name);
    if (first !== undefined) {
      const message =
        first.source === source
          ? `is the same name as ${show(first.name)} (names have no case and no dot at the end); allowed: each once`
          : `is routed in ${formatPlace(first)} already; allowed: each name once`;
      problem(route, message, "key");
      continue;
    }
    written.set(normalised.name, route);
    if (target !== undefined) builder.add(normalised.name, target);
  }
}

interface OpenMap {
  readonly name: string;
  readonly handle: FileHandle;
  /** Where it is referred to. */
  readonly place: Place;
  /** As it was opened. */
  readonly stats: Stats;
}

/** The caller closes the handles. */
async function openMaps({ maps }: Outline, problem: Report): Promise<OpenMap[]> {
  const opened = new Map<string, OpenMap>();
  for (const { text, ...place } of maps) {
    const name = besideConfiguration(place.source.file, text);
    if (opened.has(resolve(name))) continue;
    try {
      const handle = await openRegular(name);
      opened.set(resolve(name), { name, handle, place, stats: await handle.stat() });
    } catch (error) {
      problem(place, `cannot read ${show(name)}: ${readFailure(error)}`);
    }
  }
  return [...opened.values()];
}

/** Reads a file from its beginning, through one buffer. */
async function eachChunk(handle: FileHandle, buffer: Buffer, take: (chunk: Uint8Array) => void): Promise<void> {
  for (let position = 0; ; ) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) return;
    take(buffer.subarray(0, bytesRead));
    position += bytesRead;
  }
}
