/** The files that a configuration includes: patterns to names, names to sources. */
import { readdir } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { Problem } from "../../errors.js";
import { readDocument } from "./document.js";
import { member } from "./outline.js";
import { besideConfiguration, readFailure } from "./paths.js";
import { openRegular, readText } from "./read.js";
import { show } from "./scalars.js";
import type { Place, Report, Source } from "./source.js";

export interface Included {
  /** In the order of the patterns, those of one pattern by name. */
  readonly sources: readonly Source[];
  /** The names of these, and of those that could not be read. */
  readonly files: readonly string[];
  /** False if one of them could not be read: what is missing elsewhere may be there. */
  readonly complete: boolean;
}

/** Reads each file once, whatever number of patterns it matches. A file that is not as it should be becomes a problem. */
export async function readIncludes(
  main: Source,
  problem: Report,
  warning: Report,
  problems: Problem[],
): Promise<Included> {
  const sources: Source[] = [];
  const files: string[] = [];
  const seen = new Set([resolve(main.file)]);
  let complete = true;
  for (const { place, pattern } of patternsOf(main)) {
    const fail: Report = (...report) => {
      complete = false;
      problem(...report);
    };
    for (const file of await matches(place, pattern, fail, warning)) {
      if (seen.has(resolve(file))) continue;
      seen.add(resolve(file));
      files.push(file);
      const text = await readIncluded(file).catch((error: Error) => {
        fail(place, `cannot read ${show(file)}: ${readFailure(error)}`);
      });
      if (text === undefined) continue;
      const document = readDocument(text, file);
      problems.push(...document.problems);
      if (document.value === undefined && document.problems.length > 0) complete = false;
      else sources.push({ file, value: document.value ?? {}, positions: document.positions });
    }
  }
  return { sources, files, complete };
}

interface Pattern {
  readonly place: Place;
  readonly pattern: string;
}

/** What is malformed is passed over: the schema reports it. */
function patternsOf(source: Source): Pattern[] {
  const include = member(source.value, "include");
  const list: { place: Place; pattern: unknown }[] = Array.isArray(include)
    ? include.map((pattern, index) => ({ place: { source, path: ["include", index] }, pattern }))
    : [{ place: { source, path: ["include"] }, pattern: include }];
  return list.filter((each): each is Pattern => typeof each.pattern === "string" && each.pattern !== "");
}

/** The files that a pattern stands for, by name. `*` and `?` leave out names that begin with a dot, as in a shell. */
async function matches(place: Place, text: string, problem: Report, warning: Report): Promise<string[]> {
  const path = besideConfiguration(place.source.file, text);
  const [folder, last] = [dirname(path), basename(path)];
  if (text.includes("\0") || text.endsWith("/")) {
    problem(place, `found ${show(text)}; allowed: a file's path, or a pattern such as "routes.d/*.yaml"`);
    return [];
  }
  if (/[*?]/.test(dirname(text))) {
    problem(place, `found ${show(text)} with * or ? in a folder's name; allowed: in the last part of the path`);
    return [];
  }
  if (!/[*?]/.test(last)) return [path];
  const expression = new RegExp(
    `^${last
      .replace(/[.+^${}()|[\]\\]/g, "\\$&")
      .replaceAll("*", ".*")
      .replaceAll("?", ".")}$`,
    "su",
  );
  try {
    const names = (await readdir(folder)).filter(
      (name) => expression.test(name) && (!name.startsWith(".") || last.startsWith(".")),
    );
    if (names.length === 0) warning(place, `found ${show(text)}, which no file matches`);
    return names.sort().map((name) => join(folder, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT")
      warning(place, `found ${show(text)}, which no file matches: there is no folder ${show(folder)}`);
    else problem(place, `cannot read the folder ${show(folder)}: ${readFailure(error)}`);
    return [];
  }
}

async function readIncluded(file: string): Promise<string> {
  const handle = await openRegular(file);
  try {
    return await readText(handle);
  } finally {
    await handle.close();
  }
}
