/** How a name found its backend, in numbers for the data plane and in words for people. */

export const MatchKind = { DEFAULT: 0, WILDCARD: 1, EXACT: 2 } as const;
export type MatchKind = (typeof MatchKind)[keyof typeof MatchKind];

/**
 * The route that won, as configured: "app.example.com", "*.example.com", or "default". `length` is how many bytes at
 * the name's end it stands for (`RouteTable.matchedLength`).
 */
export function matchedPattern(kind: MatchKind, length: number, name: string): string {
  switch (kind) {
    case MatchKind.EXACT:
      return name;
    case MatchKind.WILDCARD:
      return `*${name.slice(name.length - length)}`;
    case MatchKind.DEFAULT:
      return "default";
  }
}
