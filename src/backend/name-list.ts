/** Names and wildcards, as routes are written: "*.example.com" is every name below example.com. */
import { HandoffError } from "../errors.js";
import { normaliseName } from "../routing/name.js";

export class NameList {
  private readonly exact: Set<string> = new Set();
  /** ".example.com" for "*.example.com". */
  private readonly suffixes: string[] = [];

  /** Throws a HandoffError, ERR_OPTION, that says which of the names is wrong and why. */
  constructor(names: readonly string[]) {
    if (!Array.isArray(names)) throw new HandoffError("ERR_OPTION", "also is neither a list of names nor a function");
    for (const text of names) {
      if (typeof text !== "string") throw new HandoffError("ERR_OPTION", `also has a ${typeof text} among its names`);
      const result = normaliseName(text);
      if (!result.ok) throw new HandoffError("ERR_OPTION", `also: ${result.message}`);
      if (result.name.startsWith("*")) this.suffixes.push(result.name.slice(1));
      else this.exact.add(result.name);
    }
  }

  /** `host` in lower case, without a dot at the end. */
  has(host: string): boolean {
    return this.exact.has(host) || this.suffixes.some((suffix) => host.endsWith(suffix));
  }
}
