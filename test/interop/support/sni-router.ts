/** sni-router, on a port or on a datagram socket, with rules from server names (regular expressions) to backends. */
import { existsSync, writeFileSync } from "node:fs";
import { Child } from "../../support/child.js";
import { until } from "../../support/wait.js";
import { peer } from "./peers.js";

let count = 0;

export class SniRouter {
  readonly child: Child;
  /** Of its TCP listener. */
  port = 0;

  private constructor(child: Child) {
    this.child = child;
  }

  /** `rules`: regular expression to what stands in `backend: <…>`. `datagrams`: the path to bind, in place of a port. */
  static async start(folder: string, rules: Record<string, string>, datagrams?: string): Promise<SniRouter> {
    const config = `${folder}/sni-router-${count++}.conf`;
    const rule = ([regex, backend]: [string, string]) =>
      `rules: <\n  regex: "${regex}"\n  backend: < ${backend} >\n>\n`;
    // Its configuration needs a default, which closes.
    writeFileSync(config, `${Object.entries(rules).map(rule).join("")}default: < backend: < null: <> > >\n`);
    const listen = datagrams === undefined ? ["--listen", "127.0.0.1:0"] : ["--listen-unix-datagram", datagrams];
    const router = new SniRouter(new Child(peer("sni-router"), [...listen, "--config", config, "--verbose", "debug"]));
    await until("sni-router's listening", () => {
      if (!router.child.running) throw new Error(`sni-router ended: ${router.child.stderr}`);
      if (datagrams !== undefined) return existsSync(datagrams);
      router.port = Number(/Listening on [^ ]*:([0-9]+)\n/.exec(router.child.stderr)?.[1] ?? 0);
      return router.port > 0;
    });
    return router;
  }

  async stop(): Promise<void> {
    await this.child.end("SIGKILL");
  }
}
