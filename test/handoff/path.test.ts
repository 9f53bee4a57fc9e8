import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ClaimedPath, claimPath } from "../../src/handoff/path.js";
import { native } from "../../src/native/addon.js";
import { Child } from "../support/child.js";
import { openDescriptors } from "../support/descriptors.js";

const options = { backlog: 4, mode: 0o660 };
let folder: string;
let path: string;
let before: string[];
const claimed: ClaimedPath[] = [];

function claim(at = path, more = {}): ClaimedPath {
  const result = claimPath(at, { ...options, ...more });
  claimed.push(result);
  return result;
}

function drop(claim: ClaimedPath): void {
  claimed.splice(claimed.indexOf(claim), 1);
  claim.release();
  native.close(claim.descriptor);
}

/** A socket whose owner is gone. */
function leaveStale(at = path): void {
  native.close(native.listenUnix(at, "seqpacket", options));
}

const failure = (code: string, ...parts: string[]) =>
  expect.objectContaining({ code, message: expect.stringMatching(new RegExp(parts.join(".*"), "s")) });

beforeEach(() => {
  before = openDescriptors();
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-"));
  path = join(folder, "door.sock");
});

afterEach(() => {
  for (const claim of [...claimed]) drop(claim);
  rmSync(folder, { recursive: true });
  expect(openDescriptors().length).toBe(before.length);
});

describe("a free path", () => {
  it("is bound with its mode, and removed on release", () => {
    const claim_ = claim(path, { mode: 0o604 });
    expect(claim_.path).toBe(path);
    expect(statSync(path).mode & 0o777).toBe(0o604);
    expect(native.unixSocket(claim_.descriptor)).toEqual({ path, type: "seqpacket", listening: true });
    drop(claim_);
    expect(existsSync(path)).toBe(false);
  });

  it.runIf(process.getuid!() === 0)("gets the owner and group asked for", () => {
    claim(path, { uid: 12345, gid: 54321 });
    expect(statSync(path)).toMatchObject({ uid: 12345, gid: 54321 });
  });

  it("is abstract if it begins with @", () => {
    const name = `@sni-handoff-test-${process.pid}`;
    const first = claim(name);
    expect(() => claim(name)).toThrowError(failure("ERR_PATH_IN_USE", name, `process ${process.pid}`));
    drop(first);
    claim(name);
  });
});

describe("a path that exists", () => {
  it("is taken over from an owner who is gone", () => {
    leaveStale();
    claim();
    expect(native.unixSocket(claimed[0]!.descriptor)).toMatchObject({ path });
  });

  it("is taken over from a dead socket of another type", () => {
    native.close(native.listenUnix(path, "dgram", options));
    claim();
  });

  it("is left to a living owner, who is named", async () => {
    const script = `
      const { native } = await import(${JSON.stringify(new URL("../../dist/native/addon.js", import.meta.url).href)});
      native.listenUnix(${JSON.stringify(path)}, "seqpacket", { backlog: 1 });
      console.log("listening");
      setInterval(() => {}, 1000);`;
    const child = new Child(process.execPath, ["--input-type=module", "--eval", script]);
    await child.line("the owner", (line) => line === "listening");
    expect(() => claim()).toThrowError(failure("ERR_PATH_IN_USE", path, `process ${child.pid}`));
    expect(existsSync(path)).toBe(true);
    await child.end("SIGKILL");
    claim();
  });

  it("is left to a living owner whose backlog is full", () => {
    const owner = native.listenUnix(path, "seqpacket", { backlog: 0 });
    const waiting = [];
    for (;;) {
      try {
        waiting.push(native.connectUnix(path, "seqpacket", {}));
      } catch (error) {
        expect(error).toMatchObject({ code: "EAGAIN" });
        break;
      }
    }
    expect(() => claim()).toThrowError(failure("ERR_PATH_IN_USE", path, "a living process"));
    for (const descriptor of [owner, ...waiting]) native.close(descriptor);
  });

  it("is left to a living owner of another type", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(path, resolve));
    expect(() => claim()).toThrowError(failure("ERR_PATH_IN_USE", path, "a living process"));
    await new Promise((resolve) => server.close(resolve));
    const datagrams = native.listenUnix(path, "dgram", { backlog: 0 });
    expect(() => claim()).toThrowError(failure("ERR_PATH_IN_USE", path, "a living process"));
    native.close(datagrams);
  });

  it("and is a file is an error", () => {
    writeFileSync(path, "precious");
    expect(() => claim()).toThrowError(failure("ERR_PATH_UNUSABLE", path, "exists and is a file, not a socket"));
    expect(statSync(path).size).toBe(8);
  });

  it("and is a symbolic link is an error", () => {
    symlinkSync(join(folder, "elsewhere"), path);
    expect(() => claim()).toThrowError(failure("ERR_PATH_UNUSABLE", path, "is a symbolic link, not a socket"));
  });
});

describe("a path that cannot be", () => {
  it("has no folder", () => {
    const missing = join(folder, "missing", "door.sock");
    expect(() => claim(missing)).toThrowError(
      failure("ERR_PATH_UNUSABLE", missing, `its folder ${join(folder, "missing")} does not exist`),
    );
  });

  it("has a file for a folder", () => {
    writeFileSync(path, "");
    expect(() => claim(join(path, "door.sock"))).toThrowError(failure("ERR_PATH_UNUSABLE", `${path} is not a folder`));
  });

  it("is too long", () => {
    const long = join(folder, "x".repeat(108));
    expect(() => claim(long)).toThrowError(
      failure("ERR_PATH_UNUSABLE", `has ${Buffer.byteLength(long)} bytes; 107 are allowed`),
    );
  });

  it.runIf(process.getuid!() === 0)("is not permitted", () => {
    chmodSync(folder, 0o755);
    process.seteuid!(65534);
    try {
      expect(() => claim()).toThrowError(failure("ERR_PATH_UNUSABLE", path, "no permission", "EACCES"));
    } finally {
      process.seteuid!(0);
    }
    chmodSync(folder, 0o700);
    process.seteuid!(65534);
    try {
      expect(() => claim()).toThrowError(failure("ERR_PATH_UNUSABLE", `no permission to open its folder ${folder}`));
    } finally {
      process.seteuid!(0);
    }
  });
});

describe("release", () => {
  it("leaves a path alone that is somebody else's by now", () => {
    const first = claim();
    renameSync(path, `${path}.old`);
    const second = claim();
    drop(first);
    expect(existsSync(path)).toBe(true);
    drop(second);
    expect(existsSync(path)).toBe(false);
  });

  it("is content when the path or its folder is gone", () => {
    const inner = join(folder, "inner");
    mkdirSync(inner);
    const claim_ = claim(join(inner, "door.sock"));
    rmSync(inner, { recursive: true });
    drop(claim_);
  });
});

describe("a folder", () => {
  it.each([
    ["an existing one", () => folder],
    ["a path that ends in /", () => `${folder}/`],
  ])("%s: each gets a socket of its own there", (_, where) => {
    const paths = [claim(where()).path, claim(where()).path];
    expect(new Set(paths).size).toBe(2);
    expect(readdirSync(folder).toSorted()).toEqual(paths.map((own) => own.slice(folder.length + 1)).toSorted());
    for (const own of paths) expect(own).toMatch(new RegExp(`^${folder}/${process.pid}-[0-9a-f]{8}\\.sock$`));
  });

  it("is rid of the sockets of processes that are gone, and of nothing else", () => {
    leaveStale(join(folder, "1-00aa00aa.sock"));
    leaveStale(join(folder, "foreign.sock"));
    writeFileSync(join(folder, "2-00aa00aa.sock"), "a file");
    const living = claim(folder);
    const { path: own } = claim(folder);
    expect(readdirSync(folder).toSorted()).toEqual(
      [
        "foreign.sock",
        "2-00aa00aa.sock",
        living.path.slice(folder.length + 1),
        own.slice(folder.length + 1),
      ].toSorted(),
    );
  });

  it("that is missing is an error", () => {
    const missing = join(folder, "missing/");
    expect(() => claim(missing)).toThrowError(failure("ERR_PATH_UNUSABLE", `its folder ${missing} does not exist`));
  });
});

it("many processes that start at once on a stale path: exactly one gets it", async () => {
  leaveStale();
  const script = `
    const { claimPath } = await import(${JSON.stringify(new URL("../../dist/handoff/path.js", import.meta.url).href)});
    try {
      claimPath(${JSON.stringify(path)}, { backlog: 4 });
      console.log("mine");
      setInterval(() => {}, 1000);
    } catch (error) {
      console.log(error.code);
    }`;
  const children = Array.from(
    { length: 6 },
    () => new Child(process.execPath, ["--input-type=module", "--eval", script]),
  );
  const answers = await Promise.all(children.map((child) => child.line("an answer", (line) => line)));
  expect(answers.toSorted()).toEqual([...Array(5).fill("ERR_PATH_IN_USE"), "mine"]);
  for (const child of children) await child.end("SIGKILL");
});
