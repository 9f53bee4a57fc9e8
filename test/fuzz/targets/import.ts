/** Other programs' configurations: the first byte says whose, the others are the text. */
import { readDocument } from "../../../src/daemon/configuration/document.js";
import { configurationSchema } from "../../../src/daemon/configuration/schema.js";
import { HandoffError } from "../../../src/errors.js";
import { FORMATS, guessFormat, type Imported, importConfiguration } from "../../../src/import/index.js";
import { CONTROL, check, same } from "../check.js";
import { fileSeeds } from "../seeds.js";

export function fuzz(data: Uint8Array): void {
  if (data.length === 0) return;
  const text = Buffer.from(data.subarray(1)).toString("utf8");
  const from = FORMATS[data[0]! % (FORMATS.length + 1)];
  const guessed = guessFormat(text);
  check(guessed === undefined || FORMATS.includes(guessed), "a known format", guessed);
  let imported: Imported;
  try {
    imported = importConfiguration(text, {
      file: "x.conf",
      from,
      read: (name) => (name === "list" ? text : undefined),
    });
  } catch (error) {
    check(
      error instanceof HandoffError && error.code === "ERR_IMPORT",
      "one kind of error",
      error instanceof Error ? error.stack : error,
    );
    check(/^x\.conf:\d+: /.test(error.message), "which says where", error.message);
    return;
  }
  for (const remark of imported.remarks) check(!CONTROL.test(remark), "a remark in one line", remark);
  const { value, problems } = readDocument(imported.text, "x.yaml");
  same(problems, [], "YAML");
  const parsed = configurationSchema.safeParse(value);
  check(parsed.success, "a configuration", { issues: parsed.error?.issues, text: imported.text });
}

const of = (format: number, ending: string) =>
  fileSeeds("test/import/examples", ending).map((bytes) => Uint8Array.from([format, ...bytes]));

/** Those of each program: the folder says where they are from. */
export const seeds = (): Uint8Array[] => [
  ...FORMATS.flatMap((format, i) =>
    of(i, ".conf")
      .concat(format === "haproxy" ? of(i, ".cfg") : [])
      .filter((bytes) => bytes.length < 3000),
  ),
];

export const words = [
  "server {",
  "map $",
  "listen ",
  "use_backend ",
  "acl ",
  "req.ssl_sni ",
  'regex: "',
  "backend: <",
  "table ",
  " > >",
];
