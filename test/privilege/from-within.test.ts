/** What somebody can do who has taken over the door, or the relay that it started: README.md's table, tried in each of their threads. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { native } from "../../src/native/addon.js";
import { certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import type { DoorOptions } from "../support/door-process.js";
import { Installed } from "../support/installed.js";
import { program } from "../support/programs.js";
import { RelayScene } from "../support/relay-scene.js";
import { until } from "../support/wait.js";
import { broken, type Intruded, Intruder, promised, TargetsProcess } from "./intruder.js";

const NOBODY = 65534;
const isRoot = process.getuid!() === 0;
/** The table is of a kernel with this ABI of Landlock or a later one: landlock(7). */
const hasLandlock = native.landlockAbi() >= 6;

/** What not every kernel has, and not every container's or virtual machine's root may. */
const dependOnMachine = new Set([
  ...["make_device", "write_sysctl", "write_cgroup", "read_memory", "open_by_handle", "read_init_environment"],
  ...["connect_mptcp", "connect_fast_open", "bind_mptcp", "raise_limits", "limit_process", "real_time"],
  ...[
    "user_namespace",
    "mount_in_user_namespace",
    "change_clock",
    "load_module",
    "load_bpf",
    "watch_kernel",
    "io_uring",
  ],
]);

let scene: RelayScene;
let outside: string;
let aims: TargetsProcess;

beforeEach(() => {
  scene = new RelayScene();
  chmodSync(scene.folder, 0o755);
  outside = mkdtempSync(join(tmpdir(), "sni-handoff-outside-"));
  aims = new TargetsProcess(join(outside, "x"), NOBODY);
  chmodSync(outside, 0o755);
});

afterEach(async () => {
  await scene.end();
  await aims.end();
  rmSync(outside, { recursive: true });
});

const intrusions = (lines: readonly string[]): Intruded[] =>
  lines.filter((line) => line.startsWith('{"event":"intruded"')).map((line) => JSON.parse(line));

describe.runIf(isRoot)("what an intruder tries", () => {
  it("can be done, where nothing is in the way", async () => {
    const intruder = new Intruder(scene.folder);
    const free = new Child(program("env"), [
      `NODE_OPTIONS=${intruder.options}`,
      process.execPath,
      "--eval",
      "setTimeout(() => {}, 100_000)",
    ]);
    intruder.loose(await aims.targets(), { package: program("env"), configuration: program("env") });
    const { results } = await free.line("the results", (line) => intrusions([line])[0]);
    await free.end("SIGKILL");
    const undone = Object.keys(results).filter((name) => results[name] !== "done");
    expect(undone.filter((name) => !dependOnMachine.has(name))).toEqual([]);
    expect(Object.keys(results)).toEqual(Object.keys(promised("door")));
  });
});

describe.runIf(isRoot && hasLandlock)(
  "an intruder in a process that became another user is refused what the table says, in each of its threads:",
  () => {
    let intruder: Intruder;
    let options: DoorOptions & { readonly program: string };
    const sockets = () => `${scene.folder}/sockets`;
    beforeEach(() => {
      const installed = new Installed(scene.folder, { whole: true });
      intruder = new Intruder(scene.folder);
      mkdirSync(sockets());
      options = { program: installed.program, prefix: [program("env"), `NODE_OPTIONS=${intruder.options}`] };
    });

    async function tryAll(processes: Readonly<Record<string, number>>): Promise<void> {
      intruder.loose(await aims.targets(), { package: options.program, configuration: scene.door.file });
      const seen = (pid: number) => intrusions(scene.door.child.lines).filter((each) => each.pid === pid);
      const threads = (pid: number) => new Set(seen(pid).map(({ thread }) => thread));
      await until("all threads", () => Object.values(processes).every((pid) => threads(pid).size === 2));
      for (const [column, pid] of Object.entries(processes)) {
        console.log(`${column}: ${JSON.stringify(seen(pid)[0]!.results)}`);
        for (const { thread, results } of seen(pid)) {
          expect({ column, thread, broken: broken(results, column) }).toEqual({ column, thread, broken: [] });
        }
      }
      await scene.door.stop();
    }

    it("a door", async () => {
      const backends = `{ app: { handoff: ${sockets()}/a.sock } }`;
      await scene.startDoor(`${scene.head}user: nobody\nbackends: ${backends}\ndefault: app\n`, options);
      await tryAll({ door: scene.door.pid });
    });

    it("a door that starts a relay, and the relay", async () => {
      const origin = await scene.origin(await certificate("app.test"));
      const backends = `{ app: { relay: "${origin.target}" }, other: { handoff: ${sockets()}/a.sock } }`;
      const relay = await scene.startRelaying(`user: nobody\nbackends: ${backends}\ndefault: app\n`, ["app"], options);
      await tryAll({ "with a relay": scene.door.pid, "its relay": relay.pid });
    });
  },
);
