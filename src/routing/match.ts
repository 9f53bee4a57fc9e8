/** How a name found its backend, in numbers for the data plane and in words for people. */

export const MatchKind = { DEFAULT: 0, WILDCARD: 1, EXACT: 2, PATTERN: 3, NO_SERVER_NAME: 4 } as const;
export type MatchKind = (typeof MatchKind)[keyof typeof MatchKind];

/**
 * The route of the table that won, as configured: "app.example.com", "*.example.com"; "default" or "noServerName" for
 * these keys. `length` is how many bytes at the name's end it stands for (`RouteTable.matchedLength`). What a pattern
 * is called only the configuration knows.
 */
export function matchedPattern(kind: MatchKind, length: number, name: string): string {
  switch (kind) {
    case MatchKind.EXACT:
      return name;
    case MatchKind.WILDCARD:
      return `*${name.slice(name.length - length)}`;
    case MatchKind.DEFAULT:
      return "default";
    case MatchKind.PATTERN:
      return "pattern";
    case MatchKind.NO_SERVER_NAME:
      return "noServerName";
  }
}
