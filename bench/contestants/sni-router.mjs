/**
 * sni-router (Rust, tokio), which hands a connection over with the hello that it has read (`pass`: a datagram a
 * connection, unacknowledged), or proxies it (`proxy`). Rules are regular expressions, tried from the first one on.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { nameOf } from "../names.mjs";
import { makePeer } from "./peer.mjs";

/** It says nothing at this level when it has read its configuration anew. Milliseconds. */
const RELOAD_REST = 200;

export const sniRouterPass = makeSniRouter("sni-router-pass", "sni-router, pass", true);
export const sniRouterProxy = makeSniRouter("sni-router-proxy", "sni-router, proxy", false);

/** @param {import("./peer.mjs").Target} target @param {boolean} pass */
function configuration({ target, names, wildcards }, pass) {
  const star = wildcards ? "[^.]+[.]" : "";
  const backend = pass ? `pass: < path: "${target}" >` : `proxy: < addr: "${target}" >`;
  const rules = Array.from(
    { length: names },
    (_, i) => `rules: <
    regex: "${star}${nameOf(i).replaceAll(".", "[.]")}"
    backend: < ${backend} >
>
`,
  );
  return `handshake_timeout_ms: 5000
${rules.join("")}default: <
    backend: < null: <> >
>
`;
}

/** @param {string} name @param {string} title @param {boolean} pass */
function makeSniRouter(name, title, pass) {
  return makePeer({
    ...{ name, title, program: "sni-router", package: "", mostNames: 1000, wildcards: true, datagrams: pass },
    install: "cargo install --locked sni-router@0.2.11 (in a clone: bash test/interop/install.sh sni-router)",
    // One thread for connections, as the others have one.
    environment: { TOKIO_WORKER_THREADS: "1" },
    configuration: (target) => `TOKIO_WORKER_THREADS=1 sni-router --verbose error\n${configuration(target, pass)}`,
    async configure(target) {
      const file = join(target.folder, "sni-router.conf");
      await writeFile(file, configuration(target, pass));
      return ["sni-router", "--verbose", "error", "--listen", target.listen, "--config", file];
    },
    async reload(router) {
      router.signal("SIGHUP");
      await sleep(RELOAD_REST);
    },
  });
}
