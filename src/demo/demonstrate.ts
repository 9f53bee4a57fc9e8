/** `sni-handoff demo`: starts a front door with backends, proves before the user's eyes that it works, and stays. */
import { once } from "node:events";
import { within } from "./deadline.js";
import { type Backends, proofs } from "./proofs.js";
import { createScreen, type Screen } from "./screen.js";
import { Stage } from "./stage.js";

/** No proof may take longer. Milliseconds. */
const PROOF_TIMEOUT = 60_000;

/** Ctrl-C, a service manager, a closed terminal. */
const STOPPING = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export interface DemonstrationOptions {
  /** End after the proofs, instead of staying until SIGINT or SIGTERM. */
  readonly once: boolean;
}

/** Resolves to whether everything was proven. Leaves no process and no file behind. */
export async function demonstrate(options: DemonstrationOptions): Promise<boolean> {
  const screen = createScreen();
  const stopping = new AbortController();
  const stop = () => stopping.abort();
  for (const signal of STOPPING) process.on(signal, stop);
  // Nobody reads any more (a pipe into head). It stays on: the error may come after the end.
  process.stdout.on("error", stop);
  const interrupted = once(stopping.signal, "abort").then(() => undefined);
  const stage = await Stage.create();
  try {
    const proven = proveAll(stage, screen, stopping.signal);
    const result = await Promise.race([proven, interrupted]);
    // What was being proven fails from here on, because its processes are ended; nobody needs to hear of it.
    proven.catch(() => {});
    if (result === undefined) return false;
    if (options.once) return result;
    invite(stage, screen);
    await interrupted;
    return result;
  } catch (error) {
    screen.failure("The demonstration could not start", (error as Error).message);
    return false;
  } finally {
    await stage.clear();
    for (const signal of STOPPING) process.off(signal, stop);
  }
}

async function proveAll(stage: Stage, screen: Screen, interrupted: AbortSignal): Promise<boolean> {
  const [web, h2, ...pool] = await Promise.all([
    stage.startBackend("web"),
    stage.startBackend("h2"),
    stage.startBackend("pool"),
    stage.startBackend("pool"),
    stage.startDoor(),
  ]);
  screen.heading(`A front door on 127.0.0.1:${stage.port} (process ${stage.door.pid}), without any key or certificate`);
  screen.line(`  web.demo.test   process ${web.pid}, https`);
  screen.line(`  h2.demo.test    process ${h2.pid}, http2`);
  screen.line(`  pool.demo.test  processes ${pool[0]?.pid} and ${pool[1]?.pid}, https`);
  screen.heading("Proof");
  const backends: Backends = { web, h2 };
  let isProven = true;
  for (const { title, prove } of proofs) {
    try {
      screen.proof(title, await within(PROOF_TIMEOUT, title, prove(stage, backends)));
    } catch (error) {
      if (interrupted.aborted) return false;
      isProven = false;
      screen.failure(title, (error as Error).message);
    }
  }
  return isProven;
}

/** What to try by hand. */
function invite(stage: Stage, screen: Screen): void {
  screen.heading("Try it yourself");
  for (const { name, certificateFile } of Object.values(stage.certificates)) {
    const at = `${name}:${stage.port}`;
    screen.line(`  curl --cacert ${certificateFile} --resolve ${at}:127.0.0.1 https://${at}/`);
  }
  screen.line(`\nConfiguration: ${stage.configurationFile}\nLog:           ${stage.logFile}`);
  screen.line("Ctrl-C ends it all.");
}
