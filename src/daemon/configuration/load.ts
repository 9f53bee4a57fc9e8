/** A configuration file to a configuration, or to everything that is wrong with it. */
import { open } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { ConfigurationError, type Problem } from "../../errors.js";
import { RouteTable } from "../../routing/table.js";
import { checkOutline, noSuch } from "./checks.js";
import { compileAccessLog, compileBackends, compileControl, compileListeners } from "./compile.js";
import type { Configuration } from "./configuration.js";
import { defaultWorkers } from "./default-workers.js";
import { readDocument } from "./document.js";
import { compileNotTls, compileSilent } from "./first-bytes.js";
import { buildHttpRoutes, compileHttp, warnOfHttp } from "./http.js";
import { findIdentity } from "./identity.js";
import { readIncludes } from "./includes.js";
import { problemsOf } from "./issues.js";
import { member, outline as readOutline } from "./outline.js";
import { readFailure } from "./paths.js";
import { readText } from "./read.js";
import { compileRelay, relayPathProblems } from "./relay.js";
import { fillBuilder } from "./routes.js";
import { warnOfRules } from "./rule-warnings.js";
import { compileRouting } from "./rules.js";
import { configurationSchema, type IncludedInput, includedSchema } from "./schema.js";
import { problemAt, type Report, type Source } from "./source.js";
import { findGroup } from "./users.js";
import {
  warnOfBackends,
  warnOfLoops,
  warnOfNeedlessRoutes,
  warnOfNotTls,
  warnOfSettings,
  warnOfUnusedBackends,
} from "./warnings.js";

export interface LoadOptions {
  /** Number of this configuration: `DoorSettings.generation`. 1 if absent. */
  readonly generation?: number;
  /** Memory of an earlier route table that no worker reads any more; the new table is built there if it fits. */
  readonly region?: SharedArrayBuffer;
  /** The same for the routes of `http`. */
  readonly httpRegion?: SharedArrayBuffer;
}

/** Throws a `ConfigurationError` that lists every problem, in the order of the files. */
export async function loadConfiguration(file: string, options: LoadOptions = {}): Promise<Configuration> {
  const document = readDocument(await readMain(file), file);
  const problems = [...document.problems];
  const warnings: Problem[] = [];
  if (document.value === undefined && problems.length > 0) throw new ConfigurationError(problems);

  const main: Source = { file, value: document.value ?? {}, positions: document.positions };
  const reporter =
    (list: Problem[]): Report =>
    (...report) =>
      list.push(problemAt(...report));
  const problem = reporter(problems);
  const warning = reporter(warnings);

  const { sources, files: includes, complete } = await readIncludes(main, problem, warning, problems);
  const files = [file, ...includes];
  const parsed = configurationSchema.safeParse(main.value);
  if (!parsed.success) problems.push(...problemsOf(parsed.error.issues, main, configurationSchema));
  const included = sources.map((source) => ({ source, ...includedSchema.safeParse(source.value) }));
  for (const { source, error } of included)
    if (error !== undefined) problems.push(...problemsOf(error.issues, source, includedSchema));
  const identity = findIdentity(main, problem);
  checkControlGroup(main, problem);
  if ([main, ...sources].every(({ value }) => member(value, "backends") === undefined) && complete)
    problem({ source: main, path: ["backends"] }, "is missing; allowed: a map of backends by their names");
  // What the other files refer to may be in the one that could not be read.
  if (!complete) throw new ConfigurationError(inOrder(problems, files));

  const outline = readOutline(main, sources);
  checkOutline(outline, problem, warning);
  const filled = await fillBuilder({ outline, region: options.region }, problem, problems, warnings);
  const httpBuilder = buildHttpRoutes(outline, options.httpRegion, problem);
  if (!parsed.success || problems.length > 0) throw new ConfigurationError(inOrder(problems, files));

  const { builder, used } = filled;
  const input = parsed.data;
  const backendsOfFiles = [
    { source: main, file, backends: input.backends },
    ...included.map(({ source, data }) => ({ source, file: source.file, backends: data!.backends })),
  ];
  const all = backendsOfFiles.flatMap(({ file, backends }) =>
    Object.entries(backends).map(([name, backend]) => ({ file, name, backend })),
  );
  const relay = compileRelay(input, file, all);
  const tooLong = relayPathProblems(relay, main);
  if (tooLong.length > 0) throw new ConfigurationError(tooLong);
  const { backends, indices, lastTarget, notTlsTarget } = compileBackends(input, all, relay);
  const inputs = new Map([
    [main, input as IncludedInput],
    ...included.map(({ source, data }) => [source, data!] as const),
  ]);
  const routing = compileRouting({ input, inputs, outline, indices, lastTarget });
  builder.defaultTarget = routing.defaultTarget;
  builder.noServerNameTarget = routing.noServerNameTarget;
  builder.notTlsTarget = notTlsTarget;
  const routes = builder.finish();
  const http = compileHttp(input.http, httpBuilder, backends);
  const table = new RouteTable(routes);
  warnOfUnusedBackends(outline, used, warning);
  warnOfNeedlessRoutes(outline, outline.routes, table, warning);
  warnOfHttp(input, main, outline, http, warning);
  warnOfRules({ main, outline, rules: routing.rules, table }, warning);
  warnOfSettings(input, main, identity, warning);
  warnOfNotTls(input, main, warning);
  warnOfLoops(outline, warning);
  for (const each of backendsOfFiles) warnOfBackends(each.backends, each.source, warning);
  const listeners = compileListeners(input);
  const { hello, drain, upgrade } = input.timeouts;
  const { hello: helloLimit, ...limits } = input.limits;
  return {
    file: resolve(file),
    files: [...files.map((name) => resolve(name)), ...filled.files],
    listeners,
    workers: input.workers ?? defaultWorkers,
    log: input.log,
    door: {
      generation: options.generation ?? 1,
      helloTimeout: hello,
      helloLimit,
      limits,
      accessLog: compileAccessLog(input.accessLog),
      backends,
      listeners: listeners.map(({ door }) => door),
      notTls: compileNotTls(input.notTls, indices),
      silent: compileSilent(input.silent, indices),
      rules: routing.rules,
      http,
    },
    routes,
    names: table.names,
    warnings: inOrder(warnings, files),
    control: compileControl(input.control, file),
    metrics: input.metrics?.address,
    relay,
    pidfile: input.pidfile === undefined ? undefined : resolve(dirname(file), input.pidfile),
    identity,
    privileges: {
      landlock: input.privileges.landlock ?? identity !== undefined,
      keepBindService: input.privileges.keepBindService,
    },
    timeouts: { drain, upgrade },
  };
}

function checkControlGroup(source: Source, problem: Report): void {
  const group = member(member(source.value, "control"), "group");
  if (typeof group === "string" && group !== "" && findGroup(group) === undefined)
    problem({ source, path: ["control", "group"] }, noSuch("group", group));
}

/** It may be a pipe, as of a shell's <(…): whoever starts the door chose it. */
export async function readMain(file: string): Promise<string> {
  try {
    const handle = await open(file);
    try {
      return await readText(handle);
    } finally {
      await handle.close();
    }
  } catch (error) {
    const message = `cannot be read: ${readFailure(error)}`;
    throw new ConfigurationError([{ file, line: 1, column: 1, key: "", message }]);
  }
}

/** The configuration file's problems by line, then those of the files that it includes, then those of maps. */
function inOrder(problems: readonly Problem[], files: readonly string[]): Problem[] {
  const order = new Map(files.map((file, index) => [file, index]));
  const rank = ({ file }: Problem) => order.get(file) ?? files.length;
  return [...problems].sort(
    (a, b) => rank(a) - rank(b) || (rank(a) < files.length ? a.line - b.line || a.column - b.column : 0),
  );
}
