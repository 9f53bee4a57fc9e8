/** What zod found, as problems with places in the file. */
import type { z } from "zod";
import type { Problem } from "../../errors.js";
import { suggestion } from "./nearest.js";
import type { Step } from "./positions.js";
import { BACKEND_KINDS, configurationSchema, includedSchema } from "./schema.js";
import { problemAt, type Source } from "./source.js";

type Issue = z.core.$ZodIssue;

/** One problem for each thing that is wrong: an issue about several unknown keys becomes one for each key. */
export function problemsOf(issues: readonly Issue[], source: Source, schema: ConfigurationSchema): Problem[] {
  return issues.flatMap((issue) => problemsOfIssue(issue, [], source, schema));
}

type ConfigurationSchema = typeof configurationSchema | typeof includedSchema;

function problemsOfIssue(
  issue: Issue,
  prefix: readonly Step[],
  source: Source,
  schema: ConfigurationSchema,
): Problem[] {
  const { value } = source;
  const path = [...prefix, ...(issue.path as Step[])];
  const at = (part: "key" | "value", where: readonly Step[], message: string): Problem =>
    problemAt({ source, path: where }, message, part);

  switch (issue.code) {
    case "unrecognized_keys": {
      const known = keysAt(schema, path, value);
      const kind = path[0] === "backends" ? BACKEND_KINDS.find((each) => known.includes(each)) : undefined;
      return issue.keys.map((key) => {
        if (schema === includedSchema && path.length === 0 && key in configurationSchema.shape)
          return at("key", [key], `cannot be in a file that is included; allowed there: ${known.join(", ")}`);
        const message = BACKEND_KINDS.some((each) => each === key)
          ? `cannot be beside ${kind}; allowed: one of ${BACKEND_KINDS.join(", ")}`
          : `is not a known key${suggestion(key, known)}; allowed: ${known.join(", ")}`;
        return at("key", [...path, key], message);
      });
    }
    case "invalid_union": {
      const union = schemaAt(schema, path, value);
      const inner = issue.errors[optionOf(union, valueAt(value, path)) ?? -1];
      if (inner !== undefined) return inner.flatMap((each) => problemsOfIssue(each, path, source, schema));
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

/** Which of a union's options a value is meant to be, if its kind tells: a backend by its keys, else a list or a map. */
function optionOf(union: z.core.$ZodType, value: unknown): number | undefined {
  if (typeof value !== "object" || value === null || !isUnion(union)) return undefined;
  const options = union._zod.def.options.map((option) => option._zod.def);
  const kind = Array.isArray(value) ? "array" : "object";
  const option =
    options.filter(({ type }) => type === "object").length > 1
      ? BACKEND_KINDS.findIndex((key) => key in value)
      : options.findIndex(({ type }) => type === kind);
  return option < 0 ? undefined : option;
}

function isUnion(schema: z.core.$ZodType): schema is z.core.$ZodUnion {
  return schema._zod.def.type === "union";
}

function valueAt(root: unknown, path: readonly Step[]): unknown {
  return path.reduce((value, step) => (value as Record<Step, unknown> | undefined)?.[step], root);
}

/** The schema of the value at a path; of unions on the way, the option that the value is meant to be. */
function schemaAt(root: z.core.$ZodType, path: readonly Step[], value: unknown): z.core.$ZodType {
  let schema = unwrap(root);
  let below = value;
  for (const step of path) {
    schema = chosen(schema, below);
    below = (below as Record<Step, unknown> | undefined)?.[step];
    const { def } = schema._zod;
    if (def.type === "object") schema = (def as z.core.$ZodObjectDef).shape[step]!;
    else if (def.type === "array") schema = (def as z.core.$ZodArrayDef).element;
    else if (def.type === "record") schema = (def as z.core.$ZodRecordDef).valueType;
    schema = unwrap(schema);
  }
  return schema;
}

function chosen(schema: z.core.$ZodType, value: unknown): z.core.$ZodType {
  return isUnion(schema) ? unwrap(schema._zod.def.options[optionOf(schema, value) ?? 0]!) : schema;
}

/** The keys that the schema knows at a path. */
function keysAt(root: z.core.$ZodType, path: readonly Step[], value: unknown): readonly string[] {
  const { def } = chosen(schemaAt(root, path, value), valueAt(value, path))._zod;
  return def.type === "object" ? Object.keys((def as z.core.$ZodObjectDef).shape) : [];
}

/** Without optional, default and prefault around it. */
function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  const { def } = schema._zod;
  return "innerType" in def ? unwrap((def as z.core.$ZodOptionalDef).innerType) : schema;
}
