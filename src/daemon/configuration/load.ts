/** A configuration file to a configuration, or to everything that is wrong with it. */
import { readFile } from "node:fs/promises";
import { ConfigurationError, type Problem } from "../../errors.js";
import { RouteTable } from "../../routing/table.js";
import { checkOutline, type Report } from "./checks.js";
import { accessLog, compileBackends, compileListeners, defaultWorkers, limits } from "./compile.js";
import type { Configuration } from "./configuration.js";
import { readDocument } from "./document.js";
import { problemsOf } from "./issues.js";
import { outline as readOutline } from "./outline.js";
import { readFailure } from "./paths.js";
import { formatPath } from "./positions.js";
import { fillBuilder } from "./routes.js";
import { configurationSchema } from "./schema.js";
import { warnOfNeedlessRoutes, warnOfUnusedBackends } from "./warnings.js";

export interface LoadOptions {
  /** Number of this configuration: `DoorSettings.generation`. 1 if absent. */
  readonly generation?: number;
  /** Memory of an earlier route table that no worker reads any more; the new table is built there if it fits. */
  readonly region?: SharedArrayBuffer;
}

/** Throws a `ConfigurationError` that lists every problem, in the order of the files. */
export async function loadConfiguration(file: string, options: LoadOptions = {}): Promise<Configuration> {
  const document = readDocument(await readText(file), file);
  const problems = [...document.problems];
  const warnings: Problem[] = [];
  if (document.value === undefined && problems.length > 0) throw new ConfigurationError(problems);

  const value = document.value ?? {};
  const reporter =
    (list: Problem[]): Report =>
    (path, message, place = "value") =>
      list.push({ file, ...document.positions[place](value, path), key: formatPath(path), message });
  const problem = reporter(problems);
  const warning = reporter(warnings);

  const parsed = configurationSchema.safeParse(value);
  if (!parsed.success) problems.push(...problemsOf(parsed.error.issues, value, document.positions, file));
  const outline = readOutline(value);
  checkOutline(outline, file, problem, warning);
  const { builder, used } = await fillBuilder({ outline, file, region: options.region }, problem, problems, warnings);
  if (!parsed.success || problems.length > 0) throw new ConfigurationError(inOrder(problems, file));

  const input = parsed.data;
  const { backends, defaultTarget, noServerNameTarget, notTlsTarget } = compileBackends(input, file);
  builder.defaultTarget = defaultTarget;
  builder.noServerNameTarget = noServerNameTarget;
  builder.notTlsTarget = notTlsTarget;
  const routes = builder.finish();
  const table = new RouteTable(routes);
  warnOfUnusedBackends(outline, used, warning);
  warnOfNeedlessRoutes(outline, table, warning);
  return {
    pidfile: undefined,
    timeouts: { drain: 10_000, upgrade: 30_000 },
    file,
    listeners: compileListeners(input.listeners),
    workers: input.workers ?? defaultWorkers,
    log: input.log,
    door: {
      generation: options.generation ?? 1,
      helloTimeout: input.timeouts.hello,
      helloLimit: input.limits.hello,
      limits,
      accessLog,
      backends,
    },
    routes,
    names: table.names,
    warnings: inOrder(warnings, file),
  };
}

async function readText(file: string): Promise<string> {
  const fail = (message: string): never => {
    throw new ConfigurationError([{ file, line: 1, column: 1, key: "", message }]);
  };
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
  } catch (error) {
    return fail(`cannot be read: ${readFailure(error)}`);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return fail("is not UTF-8 text");
  }
}

/** The configuration file's problems by line, then those of its maps. */
function inOrder(problems: readonly Problem[], file: string): Problem[] {
  return [...problems].sort(
    (a, b) =>
      Number(a.file !== file) - Number(b.file !== file) ||
      (a.file === b.file ? a.line - b.line || a.column - b.column : 0),
  );
}
