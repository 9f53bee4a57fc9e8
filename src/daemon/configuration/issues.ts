/** What zod found, as problems with places in the file. */
import type { z } from "zod";
import type { Problem } from "../../errors.js";
import { suggestion } from "./nearest.js";
import { formatPath, type Positions, type Step } from "./positions.js";
import { BACKEND_KINDS, configurationSchema } from "./schema.js";

type Issue = z.core.$ZodIssue;

/** One problem for each thing that is wrong: an issue about several unknown keys becomes one for each key. */
export function problemsOf(issues: readonly Issue[], value: unknown, positions: Positions, file: string): Problem[] {
  return issues.flatMap((issue) => problemsOfIssue(issue, [], value, positions, file));
}

function problemsOfIssue(
  issue: Issue,
  prefix: readonly Step[],
  value: unknown,
  positions: Positions,
  file: string,
): Problem[] {
  const path = [...prefix, ...(issue.path as Step[])];
  const at = (place: "key" | "value", where: readonly Step[], message: string): Problem => ({
    file,
    ...positions[place](value, where),
    key: formatPath(where),
    message,
  });

  switch (issue.code) {
    case "unrecognized_keys": {
      const known = keysAt(path, value);
      const kind = path[0] === "backends" ? BACKEND_KINDS.find((each) => known.includes(each)) : undefined;
      return issue.keys.map((key) => {
        const message = BACKEND_KINDS.some((each) => each === key)
          ? `cannot be beside ${kind}; allowed: one of ${BACKEND_KINDS.join(", ")}`
          : `is not a known key${suggestion(key, known)}; allowed: ${known.join(", ")}`;
        return at("key", [...path, key], message);
      });
    }
    case "invalid_union": {
      const option = backendOption(valueAt(value, path));
      const inner = option === undefined ? undefined : issue.errors[option];
      if (path[0] === "backends" && path.length === 2 && inner !== undefined)
        return inner.flatMap((each) => problemsOfIssue(each, path, value, positions, file));
      return [at("value", path, issue.message)];
    }
    case "invalid_key": {
      const [inner] = issue.issues;
      return [at("key", path, inner?.message ?? issue.message)];
    }
    default:
      return [at("value", path, issue.message)];
  }
}

/** The kind of a backend, by the first of its keys that tells it: an index of the union's options. */
function backendOption(backend: unknown): number | undefined {
  if (typeof backend !== "object" || backend === null) return undefined;
  const option = BACKEND_KINDS.findIndex((kind) => kind in backend);
  return option < 0 ? undefined : option;
}

function valueAt(root: unknown, path: readonly Step[]): unknown {
  return path.reduce((value, step) => (value as Record<Step, unknown> | undefined)?.[step], root);
}

/** The keys that the schema knows at a path. */
function keysAt(path: readonly Step[], root: unknown): readonly string[] {
  let schema = unwrap(configurationSchema);
  let value = root;
  for (const step of path) {
    value = (value as Record<Step, unknown> | undefined)?.[step];
    const { def } = schema._zod;
    if (def.type === "object") schema = (def as z.core.$ZodObjectDef).shape[step]!;
    else if (def.type === "array") schema = (def as z.core.$ZodArrayDef).element;
    else if (def.type === "record") schema = (def as z.core.$ZodRecordDef).valueType;
    schema = unwrap(schema);
    if (schema._zod.def.type === "union")
      schema = unwrap((schema._zod.def as z.core.$ZodUnionDef).options[backendOption(value) ?? 0]!);
  }
  const { def } = schema._zod;
  return def.type === "object" ? Object.keys((def as z.core.$ZodObjectDef).shape) : [];
}

/** Without optional, default and prefault around it. */
function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  const { def } = schema._zod;
  return "innerType" in def ? unwrap((def as z.core.$ZodOptionalDef).innerType) : schema;
}
