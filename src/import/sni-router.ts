/** sni-router's rules (text protobuf, SNIConfig) -> a draft. Pure. */
import { addressBlock, Draft, type Rule } from "./draft.js";
import { readExpression } from "./expression.js";
import { OrderedRoutes } from "./ordered-routes.js";
import { readTarget, readUnixPath } from "./targets.js";
import { type Field, type Message, readTextProto } from "./text-proto.js";
import { clamp, Limit } from "./times.js";

/** As deep as sorry backends may be in each other. */
const MAX_DEPTH = 16;

export function importSniRouter(text: string, file: string): Draft {
  return new SniRouterImport(file).run(readTextProto(text, file));
}

class SniRouterImport {
  readonly #draft: Draft;
  /** Milliseconds, of all relays; undefined: none. */
  #lifetime: number | undefined;

  constructor(file: string) {
    this.#draft = new Draft("sni-router", file);
  }

  run(message: Message): Draft {
    const draft = this.#draft;
    draft.listeners.push({ address: "[::]:443" });
    const ordered = new OrderedRoutes(draft);
    this.#lifetime = this.#time(message, "max_lifetime_ms");
    const hello = this.#time(message, "handshake_timeout_ms");
    if (hello !== undefined && hello > 0) draft.helloTimeout = clamp(hello, Limit.hello);
    for (const field of message) {
      if (field.name === "rules") this.#rule(field, ordered);
      else if (field.name === "default") draft.default = this.#rules(field);
      else if (field.name !== "max_lifetime_ms" && field.name !== "handshake_timeout_ms")
        this.#remark(field, field.name === "quic_lb" ? "this program takes TCP only" : "no field that is known");
    }
    // What is no TLS, or has no name, goes to the default rule as well.
    draft.noServerName = draft.default;
    const last = draft.default?.at(-1);
    ordered.finish();
    if (last !== undefined && last.access === undefined && last.clients === undefined) draft.notTls = last.backend;
    return draft;
  }

  #rule(field: Field, ordered: OrderedRoutes): void {
    const expression = text(field.value, "regex");
    if (expression === undefined) return this.#remark(field, "a rule without regex matches nothing; left out");
    ordered.add(readExpression(expression, true), this.#rules(field), {
      line: field.line,
      what: `rules: < regex: ${JSON.stringify(expression)} … >`,
    });
  }

  #rules(field: Field): readonly Rule[] {
    const lifetime = this.#time(field.value, "max_lifetime_ms") ?? this.#lifetime;
    const backendField = one(field.value, "backend");
    const backend =
      backendField === undefined ? this.#refuse(field, "it has no backend") : this.#backend(backendField, lifetime);
    const acl = one(field.value, "acl");
    return acl === undefined ? [{ backend }] : this.#access(acl, backend);
  }

  /** The first address that matches decides: so do rules with `clients`. Lists of one kind are shorter as access lists. */
  #access(acl: Field, backend: string): readonly Rule[] {
    const closed = () => this.#draft.backend("close", { kind: "reject", how: "close" });
    const rules: { readonly clients: string; readonly action: string }[] = [];
    for (const each of all(acl.value, "rules")) {
      const source = text(each.value, "source") ?? "";
      const clients = addressBlock(source);
      if (clients === undefined)
        return [{ backend: this.#refuse(each, `${JSON.stringify(source)} is no block of addresses`) }];
      rules.push({ clients, action: actionOf(text(each.value, "action")) });
    }
    const last = actionOf(text(acl.value, "default_action"));
    while (rules.at(-1)?.action === "CONTINUE" && last === "CONTINUE") rules.pop();
    const wrong = [last, ...rules.map(({ action }) => action)].find(
      (action) => !["DROP", "ACCEPT", "CONTINUE"].includes(action),
    );
    if (wrong !== undefined) return [{ backend: this.#refuse(acl, `${wrong} is no action`) }];
    if (rules.some(({ action }) => action === "CONTINUE"))
      return [{ backend: this.#refuse(acl, "CONTINUE before other actions has no like here") }];

    const of = (action: string) => rules.filter((rule) => rule.action === action).map(({ clients }) => clients);
    const [accept, drop] = [of("ACCEPT"), of("DROP")];
    if (last === "ACCEPT" && accept.length === 0)
      return [drop.length === 0 ? { backend } : { backend, access: { deny: drop, reject: "close" } }];
    if (last === "DROP" && drop.length === 0 && accept.length > 0)
      return [{ backend, access: { allow: accept, reject: "close" } }];
    const listed = rules.map(
      ({ clients, action }): Rule => ({ backend: action === "ACCEPT" ? backend : closed(), clients: [clients] }),
    );
    if (last === "CONTINUE") return merge(listed);
    return merge([...listed, { backend: last === "ACCEPT" ? backend : closed() }]);
  }

  #backend(field: Field, lifetime: number | undefined, depth = 0): string {
    const draft = this.#draft;
    const sorry = one(field.value, "sorry");
    if (depth > MAX_DEPTH) return this.#refuse(field, "too many sorry backends in each other");
    const fallback = sorry && this.#backend(sorry, lifetime, depth + 1);
    const rest = fallback === undefined ? {} : { fallback };
    for (const kind of ["null", "proxy", "pass"]) {
      const found = one(field.value, kind);
      if (found === undefined) continue;
      const tls = one(field.value, "frontend_tls") ?? one(found.value, "frontend_tls");
      if (kind === "null") return draft.backend("close", { kind: "reject", how: "close" });
      if (tls !== undefined) return this.#refuse(tls, "the front door has no keys: a backend has to end TLS");
      const tlsToBackend = one(found.value, "backend_tls");
      if (tlsToBackend !== undefined)
        return this.#refuse(tlsToBackend, "the relay moves the client's bytes as they are");
      if (kind === "pass") {
        const path = readUnixPath(text(found.value, "path") ?? "");
        if (!path.ok) return this.#refuse(found, path.why);
        const socket = path.text.slice("unix:".length);
        if (!socket.startsWith("/"))
          this.#remark(found, "sni-router's path is relative to where it was started, here it is to this file");
        return draft.backend(socket, { kind: "datagram", path: socket, ...rest });
      }
      const address = text(found.value, "addr") ?? "";
      const target = readTarget(address);
      if (!target.ok) return this.#refuse(found, `${JSON.stringify(address)} is no target: ${target.why}`);
      return draft.backend(target.text, {
        kind: "relay",
        targets: [target.text],
        ...(/^(?:[Tt]rue|t|1)$/.test(text(found.value, "proxy_header") ?? "") && { proxyProtocol: "v1" as const }),
        ...(lifetime !== undefined && lifetime > 0 && { lifetime }),
        ...rest,
      });
    }
    return this.#refuse(field, "a backend of no known kind");
  }

  #time(message: Field["value"], name: string): number | undefined {
    const field = one(message, name);
    if (field === undefined) return undefined;
    const milliseconds = Number(field.value);
    if (typeof field.value === "string" && /^\d{1,15}$/.test(field.value)) return clamp(milliseconds, Limit.lifetime);
    this.#remark(field, "no number of milliseconds");
    return undefined;
  }

  #refuse(field: Field, why: string): string {
    this.#remark(field, `${why}; refused instead`);
    return this.#draft.refused();
  }

  #remark({ line, name, value }: Field, why: string): void {
    this.#draft.remark(line, typeof value === "string" ? `${name}: ${value}` : `${name}: <…>`, why);
  }
}

/** Neighbours with the same backend are one. */
function merge(rules: readonly Rule[]): readonly Rule[] {
  const merged: Rule[] = [];
  for (const rule of rules) {
    const last = merged.at(-1);
    if (last?.clients !== undefined && rule.clients !== undefined && last.backend === rule.backend)
      merged[merged.length - 1] = { ...last, clients: [...last.clients, ...rule.clients] };
    else merged.push(rule);
  }
  return merged;
}

/** By its number, too. */
function actionOf(action: string | undefined): string {
  return ["UNSPECIFIED", "DROP", "ACCEPT", "CONTINUE"][Number(action ?? 0)] ?? action!;
}

const all = (message: Field["value"], name: string) =>
  typeof message === "string" ? [] : message.filter((field) => field.name === name);

/** Of several the last counts. */
const one = (message: Field["value"], name: string) => all(message, name).at(-1);

function text(message: Field["value"], name: string): string | undefined {
  const value = one(message, name)?.value;
  return typeof value === "string" ? value : undefined;
}
