/** HAProxy's conditions (ACLs, `if`, `unless`) as facts about a connection. Pure. */
import { addressBlock, isProtocol } from "./draft.js";
import { escapeExpression, type Matcher, readExpression } from "./expression.js";

/** What a single test says. */
export type Fact =
  /** The server name is one of these. */
  | { readonly kind: "names"; readonly matchers: readonly Matcher[] }
  /** There is a server name. */
  | { readonly kind: "named" }
  | { readonly kind: "tls" }
  | { readonly kind: "alpn"; readonly protocols: readonly string[] }
  | { readonly kind: "clients"; readonly blocks: readonly string[] }
  | { readonly kind: "always" }
  | { readonly kind: "never" }
  | { readonly kind: "unknown"; readonly why: string };

export interface Literal {
  readonly fact: Fact;
  readonly negated: boolean;
}

/** Any of these, each of which is all of its literals. */
export type Condition = readonly (readonly Literal[])[];

/** Reads a file of lines; undefined if it cannot be read. */
export type Reader = (path: string) => string | undefined;

const unknown = (why: string): Fact => ({ kind: "unknown", why });

/** Facts of ACLs by name: several lines of one name are alternatives. */
export class Acls {
  readonly #facts: Map<string, Fact[]> = new Map();
  readonly #unions: Map<string, Fact> = new Map();
  readonly #read: Reader;

  constructor(read: Reader) {
    this.#read = read;
  }

  /** `acl NAME TEST…`, without the first word. */
  add([name = "", ...test]: readonly string[]): void {
    const facts = this.#facts.get(name);
    if (facts === undefined) this.#facts.set(name, [this.#test(test)]);
    else facts.push(this.#test(test));
    this.#unions.delete(name);
  }

  /** What is behind `if` or `unless`. */
  condition([word, ...words]: readonly string[]): Condition {
    const terms: Literal[][] = [[]];
    let negated = false;
    for (let i = 0; i < words.length; i++) {
      let token = words[i]!;
      if (token === "||" || token === "or") {
        terms.push([]);
        continue;
      }
      while (token.startsWith("!")) {
        negated = !negated;
        token = token.slice(1);
      }
      if (token === "") continue;
      const last = terms.at(-1)!;
      if (token.startsWith("{")) {
        const start = i;
        while (i < words.length && !words[i]!.endsWith("}")) i++;
        const fact =
          i === words.length
            ? unknown("a { without its }")
            : this.#test(inBraces([token, ...words.slice(start + 1, i + 1)]));
        last.push({ fact, negated });
      } else if (negated) {
        for (const fact of this.#factsOf(token)) last.push({ fact, negated });
      } else {
        last.push({ fact: this.#anyOf(token), negated });
      }
      negated = false;
    }
    return word === "unless" ? negate(terms) : terms;
  }

  #factsOf(name: string): readonly Fact[] {
    return this.#facts.get(name) ?? [predefined(name)];
  }

  #anyOf(name: string): Fact {
    const known = this.#unions.get(name);
    if (known !== undefined) return known;
    const facts = this.#factsOf(name);
    const fact = facts.length === 1 ? facts[0]! : union(facts);
    this.#unions.set(name, fact);
    return fact;
  }

  #test([fetch = "", ...words]: readonly string[]): Fact {
    const { method, values, problem } = this.#values(words);
    if (problem !== undefined) return unknown(problem);
    const [sample = "", ...converters] = fetch.split(",");
    if (converters.some((each) => each !== "lower")) return unknown(`${fetch} is not carried over`);
    switch (sample.replace("req_ssl_", "req.ssl_")) {
      case "req.ssl_sni":
        if (method === "found") return { kind: "named" };
        return { kind: "names", matchers: values.map((value) => nameMatcher(method ?? "str", value)) };
      case "req.ssl_hello_type":
        return values.length === 1 && values[0] === "1"
          ? { kind: "tls" }
          : unknown("another type of TLS message than 1");
      case "req.ssl_alpn":
        if (method !== undefined && method !== "str") return unknown(`-m ${method} of ALPN is not carried over`);
        return protocols(values);
      case "src":
        return blocks(values);
      case "always_true":
        return { kind: "always" };
      case "always_false":
        return { kind: "never" };
      default:
        return unknown(`${sample || "an empty test"} is not carried over`);
    }
  }

  #values(words: readonly string[]): { method?: string; values: string[]; problem?: string } {
    const values: string[] = [];
    let method: string | undefined;
    for (let i = 0; i < words.length; i++) {
      const word = words[i]!;
      if (word === "-i" || word === "-n") continue;
      if (word === "-m") method = words[++i];
      else if (word === "-f") {
        const path = words[++i] ?? "";
        const text = this.#read(path);
        if (text === undefined) return { values, problem: `${path} cannot be read` };
        for (const line of text.split("\n")) if (line.trim() !== "" && !line.startsWith("#")) values.push(line.trim());
      } else if (word === "--") {
        values.push(...words.slice(i + 1));
        break;
      } else if (word.startsWith("-") && values.length === 0) return { values, problem: `${word} is not carried over` };
      else values.push(word);
    }
    return { values, ...(method !== undefined && { method }) };
  }
}

/** The words of "{ a b }", "{a b}". */
function inBraces(words: readonly string[]): string[] {
  const inner = [...words];
  inner[0] = inner[0]!.slice(1);
  inner[inner.length - 1] = inner.at(-1)!.slice(0, -1);
  return inner.filter(Boolean);
}

/** How a name is compared: of ACLs (`-m`) and of maps (`map_end`). */
export function nameMatcher(method: string, value: string): Matcher {
  const text = escapeExpression(value.toLowerCase());
  const pattern = (source: string): Matcher => readExpression(source, true);
  switch (method) {
    case "str":
      if (value.includes("*")) return { kind: "unusable", why: "HAProxy takes a star literally, so it never matches" };
      return { kind: "names", names: [value] };
    case "end":
      return value.startsWith(".") ? { kind: "names", names: [`*${value}`] } : pattern(`.*${text}`);
    case "beg":
      return pattern(`${text}.*`);
    case "sub":
      return pattern(`.*${text}.*`);
    case "dom":
      return pattern(`(?:.*\\.)?${text}(?:\\..*)?`);
    case "reg":
      return readExpression(value, false);
    default:
      return { kind: "unusable", why: `-m ${method} is not carried over` };
  }
}

function protocols(values: readonly string[]): Fact {
  const wrong = values.find((value) => !isProtocol(value));
  if (wrong !== undefined) return unknown(`${JSON.stringify(wrong)} is no protocol's name`);
  return values.length === 0 ? unknown("no protocol to compare with") : { kind: "alpn", protocols: values };
}

function blocks(values: readonly string[]): Fact {
  const found = values.map(addressBlock);
  const wrong = found.indexOf(undefined);
  if (wrong !== -1) return unknown(`${JSON.stringify(values[wrong])} is no block of addresses`);
  return { kind: "clients", blocks: found as string[] };
}

function predefined(name: string): Fact {
  if (name === "TRUE") return { kind: "always" };
  if (name === "FALSE") return { kind: "never" };
  if (name === "REQ_CONTENT") return { kind: "always" };
  return unknown(`there is no ACL ${JSON.stringify(name)}`);
}

/** Any of several facts as one, where they are of one kind. */
function union(facts: readonly Fact[]): Fact {
  const wrong = facts.find(({ kind }) => kind === "unknown");
  if (wrong !== undefined) return wrong;
  if (facts.every((fact) => fact.kind === "names"))
    return { kind: "names", matchers: facts.flatMap(({ matchers }) => matchers) };
  if (facts.every((fact) => fact.kind === "alpn"))
    return { kind: "alpn", protocols: facts.flatMap(({ protocols }) => protocols) };
  if (facts.every((fact) => fact.kind === "clients"))
    return { kind: "clients", blocks: facts.flatMap(({ blocks }) => blocks) };
  return unknown("an ACL of tests of several kinds is not carried over");
}

/** Of alternatives of single literals, or of one alternative: others are not carried over. */
function negate(terms: Condition): Condition {
  const opposite = ({ fact, negated }: Literal): Literal => ({ fact, negated: !negated });
  if (terms.length === 1) return terms[0]!.map((literal) => [opposite(literal)]);
  if (terms.every(({ length }) => length === 1)) return [terms.map(([literal]) => opposite(literal!))];
  return [[{ fact: unknown("`unless` with several alternatives is not carried over"), negated: false }]];
}
