/**
 * The same configuration file, as the relay's process reads it: only what concerns it. A listener or a map that is wrong
 * is the door's matter; the relay's connections go on, and so does its start.
 */
import { resolve } from "node:path";
import { ConfigurationError, type Problem } from "../../errors.js";
import type { RelayLogLevel } from "../../relay/settings.js";
import { checkFallbacks, checkNames, checkTargets } from "./checks.js";
import { readDocument } from "./document.js";
import { findIdentity, type Identity } from "./identity.js";
import { readIncludes } from "./includes.js";
import { problemsOf } from "./issues.js";
import { readMain } from "./load.js";
import { outline as readOutline } from "./outline.js";
import { compileRelay, type RelayConfiguration, relayPathProblems } from "./relay.js";
import { configurationSchema, includedSchema } from "./schema.js";
import { problemAt, type Report, type Source } from "./source.js";

export interface RelayFile {
  /** Absolute. */
  readonly file: string;
  /** Every file that was read; absolute. */
  readonly files: readonly string[];
  readonly relay: RelayConfiguration;
  readonly log: { readonly level: RelayLogLevel };
  /** Who to become; undefined: nobody else. */
  readonly identity: Identity | undefined;
}

const KEYS = { workers: true, include: true, backends: true, log: true, control: true, relay: true } as const;
const relaySchema = configurationSchema.pick({ ...KEYS, user: true, group: true });
const relayIncludedSchema = includedSchema.pick({ backends: true });

/** Throws a `ConfigurationError` that lists every problem of what it reads, in the order of the files. */
export async function loadRelay(file: string): Promise<RelayFile> {
  const document = readDocument(await readMain(file), file);
  const problems: Problem[] = [...document.problems];
  if (document.value === undefined && problems.length > 0) throw new ConfigurationError(problems);
  const problem: Report = (...report) => problems.push(problemAt(...report));
  const main: Source = { file, value: only(document.value, relaySchema.shape), positions: document.positions };

  const included = await readIncludes(main, problem, () => {}, problems);
  const sources = included.sources.map((each) => ({ ...each, value: only(each.value, relayIncludedSchema.shape) }));
  const parsed = relaySchema.safeParse(main.value);
  if (!parsed.success) problems.push(...problemsOf(parsed.error.issues, main, configurationSchema));
  const parts = sources.map((source) => ({ source, ...relayIncludedSchema.safeParse(source.value) }));
  for (const { source, error } of parts)
    if (error !== undefined) problems.push(...problemsOf(error.issues, source, includedSchema));
  const identity = findIdentity(main, problem);

  const outline = readOutline(main, sources);
  checkNames(outline, problem);
  checkFallbacks(outline, problem);
  checkTargets(outline, problem);
  if (!parsed.success || problems.length > 0) throw new ConfigurationError(problems);

  const { data } = parsed;
  const files = [{ file, backends: data.backends }, ...parts.map(({ source, data }) => ({ ...source, ...data! }))];
  const all = files.flatMap(({ file, backends }) =>
    Object.entries(backends).map(([name, backend]) => ({ file, name, backend })),
  );
  const relay = compileRelay(data, file, all);
  const tooLong = relayPathProblems(relay, main);
  if (tooLong.length > 0) throw new ConfigurationError(tooLong);
  return {
    file: resolve(file),
    files: [file, ...included.files].map((name) => resolve(name)),
    relay,
    log: data.log,
    identity,
  };
}

/** The keys that a schema knows. What is no map at all is for the schema to refuse. */
function only(value: unknown, shape: object): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value ?? {};
  return Object.fromEntries(Object.entries(value).filter(([key]) => key in shape));
}
