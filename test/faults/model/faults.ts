/** What happens to the processes of a scene. Each fault undoes what it did before it is over. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { descriptorLimitOf, leaveDescriptors, limitDescriptors, processorShare } from "../../support/process-limits.js";
import { isAlive, kill } from "../../support/process-status.js";
import { program } from "../../support/programs.js";
import type { Instance } from "./instance.js";
import type { Scene } from "./scene.js";
import type { Fault, FaultKind } from "./schedule.js";
import { sleep } from "./time.js";

const stopThread = fileURLToPath(new URL("../../support/stop-thread.py", import.meta.url));
const HOUR = 3600;
/** What is measured over so many milliseconds is not chance, and more of a processor than this is not work. */
const LONG = 300;
const SPINNING = 0.8;

/** What a fault may use. */
export interface Stage {
  readonly scene: Scene;
  /** So many clients come at once, beside all others. */
  burst(clients: number): void;
}

type Act = (stage: Stage, fault: Fault) => Promise<void>;

export const acts: Readonly<Record<FaultKind, Act>> = {
  async "kill an instance"({ scene }, fault) {
    const instance = chosen(scene, fault);
    await instance.kill();
    await sleep(fault.milliseconds / 2);
    await scene.restart(instance);
  },

  async "stop an instance"({ scene }, fault) {
    const instance = chosen(scene, fault);
    instance.signal("SIGSTOP");
    await bear(scene, fault);
    instance.signal("SIGCONT");
  },

  async "stop an instance and kill it"({ scene }, fault) {
    const instance = chosen(scene, fault);
    instance.signal("SIGSTOP");
    await sleep(fault.milliseconds);
    await instance.kill();
    await scene.restart(instance);
  },

  async "drain an instance"({ scene }, fault) {
    const instance = chosen(scene, fault);
    await instance.drain();
    await sleep(fault.milliseconds / 4);
    await scene.restart(instance);
  },

  async "overload an instance"({ scene }, fault) {
    const instance = chosen(scene, fault);
    instance.signal("SIGUSR2");
    await bear(scene, fault);
    instance.signal("SIGUSR2");
  },

  async "take an instance's descriptors"({ scene }, fault) {
    // Who takes datagrams has no way to refuse one whose descriptor could not be received.
    const refusing = scene.instances.filter(({ start }) => start.protocol === undefined);
    await starve(scene, refusing[fault.choice % refusing.length]!.pid, fault);
  },

  async "stop all instances"({ scene, burst }, fault) {
    for (const instance of scene.instances) instance.signal("SIGSTOP");
    burst(400);
    await bear(scene, fault);
    for (const instance of scene.instances) instance.signal("SIGCONT");
  },

  async "kill the door"({ scene }, fault) {
    await killInCharge(scene, fault.milliseconds / 2);
  },

  async "stop the door"({ scene }, fault) {
    const pid = await scene.door.current();
    kill(pid, "SIGSTOP");
    await sleep(fault.milliseconds);
    kill(pid, "SIGCONT");
  },

  async "fill the accept queue"({ scene, burst }, fault) {
    const pid = await scene.door.current();
    kill(pid, "SIGSTOP");
    burst(1300);
    await sleep(fault.milliseconds);
    kill(pid, "SIGCONT");
  },

  async "stop a worker"({ scene }, fault) {
    const debuggerOf = spawn(program("python3"), [stopThread, `${scene.door.pid}`], {
      stdio: ["pipe", "pipe", "ignore"],
    });
    const ended = once(debuggerOf, "exit");
    // Without a worker that waits at that moment, or since the door is gone, it says nothing.
    await Promise.race([once(debuggerOf.stdout, "data"), ended]);
    await bear(scene, fault);
    debuggerOf.stdin.on("error", () => {});
    debuggerOf.stdin.end();
    await ended;
  },

  async "restart the door"({ scene }, fault) {
    await scene.door.stop();
    await sleep(fault.milliseconds / 4);
    await runDoor(scene);
  },

  async "upgrade the door"({ scene }) {
    await upgrade(scene);
  },

  async "kill the new door"({ scene }, fault) {
    const { door } = scene;
    const before = door.pid;
    const upgraded = door.upgrade().catch(() => undefined);
    const successor = await door.successor(upgraded);
    await sleep(fault.milliseconds / 3);
    // It may have taken over meanwhile: then it is the one in charge.
    const isKilled = successor !== undefined && isAlive(successor) && isAlive(before);
    if (isKilled) await door.kill(successor);
    await upgraded;
    // Or at this very moment: then the one before could not know, and has gone too.
    if (isKilled && door.pid === successor) await runDoor(scene);
  },

  async "kill the old door"({ scene }, fault) {
    const { door } = scene;
    const upgraded = door.upgrade().catch(() => undefined);
    await door.successor(upgraded);
    await sleep(fault.milliseconds / 3);
    await killInCharge(scene, 0);
    await upgraded;
  },

  async "take the door's descriptors"({ scene }, fault) {
    await starve(scene, await scene.door.current(), fault);
  },

  async reload({ scene }) {
    await reload(scene);
  },

  async "tear the configuration"({ scene }, fault) {
    const part = fault.choice / 1000;
    await scene.tear(scene.version + 1, part, async () => {
      const { ok, message } = await scene.door.reload();
      if (ok) throw new Error(`${part} of a configuration was taken for a whole one: ${message}`);
    });
    await mustReload(scene);
  },

  async "break the configuration"({ scene }) {
    const { version } = scene;
    writeFileSync(scene.file, `backends: { app: { handoff: 7 } }\nroutes: { app.test: nowhere }\n`);
    const { ok, message } = await scene.door.reload();
    if (ok) throw new Error(`a wrong configuration was taken: ${message}`);
    scene.write(version + 1);
    await mustReload(scene);
  },

  async "kill the relay"({ scene }, fault) {
    await scene.relay.kill();
    await sleep(fault.milliseconds / 4);
    await scene.relay.run(scene.clock.environment);
  },

  async "stop the relay"({ scene }, fault) {
    scene.relay.signal("SIGSTOP");
    await bear(scene, fault);
    scene.relay.signal("SIGCONT");
  },

  async "replace the relay"({ scene }) {
    await scene.relay.run(scene.clock.environment);
  },

  async "set the clock"({ scene }, fault) {
    const offsets = [HOUR, -HOUR, 24 * HOUR, -24 * HOUR, 1, -1, 3650 * 24 * HOUR];
    scene.clock.set(offsets[fault.choice % offsets.length]!);
    await sleep(fault.milliseconds / 2);
    scene.clock.set(0);
    await sleep(fault.milliseconds / 4);
  },
};

/** What comes in the middle of another fault. It may fail where that one concerns the door itself. */
export const secondaries = {
  async upgrade(scene: Scene, mayFail: boolean): Promise<void> {
    await tolerating(mayFail, () => upgrade(scene));
  },
  async reload(scene: Scene, mayFail: boolean): Promise<void> {
    await tolerating(mayFail, () => reload(scene));
  },
};

async function tolerating(mayFail: boolean, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!mayFail) throw error;
  }
}

function chosen({ instances }: Scene, { choice }: Fault): Instance {
  return instances[choice % instances.length]!;
}

async function upgrade({ door, history, version }: Scene): Promise<void> {
  const { ok, message } = await door.upgrade();
  if (!ok) throw new Error(`the upgrade failed: ${message}`);
  history.inForce(version);
}

async function reload(scene: Scene): Promise<void> {
  scene.write(scene.version + 1);
  await mustReload(scene);
}

async function mustReload({ door, history, version }: Scene): Promise<void> {
  let answer = await door.reload();
  // The process before an upgrade passes it on, and does not wait until it is done.
  while (answer.ok && /was told to reload$/.test(answer.message)) answer = await door.reload();
  const { ok, message, details } = answer;
  if (!ok) throw new Error(`the reload failed: ${message}: ${details}`);
  history.inForce(version);
}

async function runDoor({ door, history, version }: Scene): Promise<void> {
  await door.run();
  history.inForce(version);
}

/** Another process may be about to take over: then it does, and else one is started. */
async function killInCharge(scene: Scene, pause: number): Promise<void> {
  const { door } = scene;
  const successor = await door.killAndSeek();
  await sleep(pause);
  if (successor === undefined || !(await door.isSucceededBy(successor))) await runDoor(scene);
}

/** A few descriptors are left for a while. */
async function starve(scene: Scene, pid: number, fault: Fault): Promise<void> {
  const limit = whileAlive(pid, () => descriptorLimitOf(pid));
  whileAlive(pid, () => leaveDescriptors(pid, fault.choice % 4));
  try {
    await bear(scene, fault);
  } finally {
    whileAlive(pid, () => limit !== undefined && limitDescriptors(pid, limit));
  }
}

/** What is done to a process that an upgrade beside it may end. */
function whileAlive<T>(pid: number, act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if (isAlive(pid)) throw error;
    return undefined;
  }
}

/** A fault lasts. A few hundred clients are some work for those who are not stopped; who spins takes a whole processor. */
async function bear({ pids }: Scene, { kind, milliseconds }: Fault): Promise<void> {
  // Who ends meanwhile has not spun.
  const shares = await Promise.all(pids.map((pid) => processorShare(pid, milliseconds).catch(() => 0)));
  if (milliseconds < LONG || Math.max(...shares) < SPINNING) return;
  throw new Error(`somebody spins (${kind}): ${shares.map((share) => share.toFixed(2))} of a processor`);
}
