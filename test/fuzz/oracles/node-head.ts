/** A request head as Node's own parser (llhttp) reads it, synchronously. */
import { createRequire } from "node:module";

interface Parser {
  [callback: number]: (...facts: never[]) => unknown;
  initialize(type: number, resource: object, maxHeaderSize: number, lenient: number): void;
  execute(bytes: Buffer): number | Error;
  close(): void;
}

const { HTTPParser } = createRequire(import.meta.url)("node:_http_common") as {
  HTTPParser: { new (): Parser; REQUEST: number; kOnHeaders: number; kOnHeadersComplete: number };
};

export interface NodeHead {
  readonly url: string;
  readonly hosts: readonly string[];
}

/** undefined: it refuses them, or they are not a whole head to it. */
export function readByNode(head: Uint8Array): NodeHead | undefined {
  let seen: NodeHead | undefined;
  let fields: readonly string[] = [];
  const parser = new HTTPParser();
  parser.initialize(HTTPParser.REQUEST, {}, 0, 0);
  // Many fields come in portions.
  parser[HTTPParser.kOnHeaders] = (some: readonly string[]) => {
    fields = [...fields, ...some];
  };
  parser[HTTPParser.kOnHeadersComplete] = (
    _major: number,
    _minor: number,
    rest?: string[],
    _method?: number,
    url = "",
  ) => {
    const all = [...fields, ...(rest ?? [])];
    seen = { url, hosts: all.filter((_, i) => i % 2 === 1 && all[i - 1]!.toLowerCase() === "host") };
    return 2; // No body: what follows is not looked at.
  };
  const result = parser.execute(Buffer.from(head));
  parser.close();
  return result instanceof Error ? undefined : seen;
}
