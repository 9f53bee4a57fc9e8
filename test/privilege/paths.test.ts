/** What a local user can do to a process that makes sockets, folders and files where that user may write, too. */
import { chmodSync, chownSync, lstatSync, mkdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PidFile } from "../../src/daemon/pidfile.js";
import { makeRelayFolder } from "../../src/daemon/relay/folders.js";
import { HandoffError } from "../../src/errors.js";
import { claimPath } from "../../src/handoff/path.js";
import { native } from "../../src/native/addon.js";
import { Child } from "../support/child.js";
import { openDescriptors } from "../support/descriptors.js";
import { Folder } from "../support/folder.js";

const NOBODY = 65534;
/** At least; and until both outcomes were seen. */
const TRIALS = 500;
const folder = new Folder();
const dist = fileURLToPath(new URL("../../dist", import.meta.url));
const swapper = fileURLToPath(new URL("fixtures/swapper.mjs", import.meta.url));

let count = 0;
let shared: string;
let path: string;
let other: Child | undefined;

beforeEach(() => {
  chmodSync(folder.path, 0o755);
  shared = folder.at(`shared-${count++}`);
  mkdirSync(shared);
  chmodSync(shared, 0o777);
  path = `${shared}/x`;
});

afterEach(async () => {
  await other?.end("SIGKILL");
  other = undefined;
});

async function swapAgainst(precious: string): Promise<void> {
  other = new Child(process.execPath, [swapper, path, precious, dist]);
  await other.line("it to begin", (line) => line === "ready");
}

/** What nobody but root may have changed. */
function stateOf(at: string): unknown {
  const { mode, uid, gid, ino, nlink, mtimeMs } = lstatSync(at);
  return { mode, uid, gid, ino, nlink, mtimeMs };
}

/** How often each thing came of `act`: "done", or ERR_PATH_UNUSABLE and the like. Whatever else it throws is thrown. */
async function tally(act: () => void): Promise<Record<string, number>> {
  const seen: Record<string, number> = {};
  for (let i = 0; i < TRIALS || seen.done === undefined || seen.ERR_PATH_UNUSABLE === undefined; i++) {
    expect(i).toBeLessThan(100 * TRIALS);
    let result = "done";
    try {
      act();
    } catch (error) {
      if (!(error instanceof HandoffError)) throw error;
      result = error.code;
    }
    seen[result] = (seen[result] ?? 0) + 1;
    if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  return seen;
}

describe.runIf(process.getuid!() === 0)("against somebody who swaps what is at the path", () => {
  it("a socket is made as asked, or an error says why not, and nothing else is touched", async () => {
    const precious = folder.write("precious", "precious");
    const before = stateOf(precious);
    const open = openDescriptors().length;
    await swapAgainst(precious);
    const options = { backlog: 1, mode: 0o660, uid: 1, gid: 54_321 };
    const seen = await tally(() => {
      const { descriptor, release } = claimPath(path, options, { folders: false });
      expect(native.unixSocket(descriptor)).toEqual({ path, type: "seqpacket", listening: true });
      release();
      native.close(descriptor);
    });
    await other!.end("SIGKILL");
    console.log(`sockets: ${JSON.stringify(seen)}`);
    expect(stateOf(precious)).toEqual(before);
    expect(readFileSync(precious, "utf8")).toBe("precious");
    expect(openDescriptors().length).toBe(open);
  });

  it("the relay's folder is made and given away, or an error says why not, and no other folder is", async () => {
    const precious = folder.at("precious-folder");
    mkdirSync(precious, { mode: 0o700 });
    const before = stateOf(precious);
    const open = openDescriptors().length;
    await swapAgainst(precious);
    const seen = await tally(() => makeRelayFolder(`${path}/`, { uid: NOBODY, gid: NOBODY }));
    await other!.end("SIGKILL");
    console.log(`folders: ${JSON.stringify(seen)}`);
    expect(stateOf(precious)).toEqual(before);
    expect(openDescriptors().length).toBe(open);
  });
});

describe("a pidfile", () => {
  it("is not written through a link that somebody put where it is prepared, nor where it comes to be", () => {
    const precious = folder.write("another", "precious");
    symlinkSync(precious, `${path}.${process.pid}`);
    symlinkSync(precious, path);
    const file = new PidFile(path);
    file.publish();
    expect(readFileSync(path, "utf8")).toBe(`${process.pid}\n`);
    expect(lstatSync(path).isSymbolicLink()).toBe(false);
    file.remove();
    expect(readFileSync(precious, "utf8")).toBe("precious");
  });
});

describe.runIf(process.getuid!() === 0)("the socket of another user's process that is gone", () => {
  const claimAs = (uid: number) => {
    process.seteuid!(uid);
    try {
      return claimPath(path, { backlog: 1 });
    } finally {
      process.seteuid!(0);
    }
  };
  beforeEach(() => {
    native.close(native.listenUnix(path, "seqpacket", { backlog: 1, mode: 0o666, uid: 1, gid: 1 }));
  });

  it("where only its user may remove it is an error that says whose it is, and what to do", () => {
    chmodSync(shared, 0o1777);
    expect(() => claimAs(NOBODY)).toThrowError(
      expect.objectContaining({
        code: "ERR_PATH_UNUSABLE",
        message: `cannot listen on ${path}: the socket of a process that is gone is there, of user 1, and may not be removed (EPERM); remove it, or choose another path`,
      }),
    );
    expect(lstatSync(path).uid).toBe(1);
  });

  it("is replaced by whoever may", () => {
    const { descriptor, release } = claimAs(0);
    expect(lstatSync(path).uid).toBe(0);
    release();
    native.close(descriptor);
  });

  it("in a folder of instances, where only its user may remove it, is left there, and hinders nobody", () => {
    chmodSync(shared, 0o1777);
    const stale = `${shared}/4711-00aa00aa.sock`;
    native.close(native.listenUnix(stale, "seqpacket", { backlog: 1, mode: 0o666, uid: 1, gid: 1 }));
    process.seteuid!(NOBODY);
    try {
      const { descriptor, release } = claimPath(`${shared}/`, { backlog: 1 });
      release();
      native.close(descriptor);
    } finally {
      process.seteuid!(0);
    }
    expect(lstatSync(stale).uid).toBe(1);
    rmSync(stale);
  });
});

it.runIf(process.getuid!() === 0)("a socket that is given away is for nobody else", () => {
  const { descriptor, release } = claimPath(path, { backlog: 1, mode: 0o600, uid: 1, gid: 1 });
  const { mode, uid, gid } = lstatSync(path);
  expect({ mode: mode & 0o777, uid, gid }).toEqual({ mode: 0o600, uid: 1, gid: 1 });
  chownSync(shared, 1, 1);
  process.seteuid!(NOBODY);
  try {
    expect(() => native.connectUnix(path, "seqpacket", {})).toThrowError(expect.objectContaining({ code: "EACCES" }));
  } finally {
    process.seteuid!(0);
  }
  release();
  native.close(descriptor);
});
