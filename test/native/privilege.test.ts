import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Execution, native } from "../../src/native/addon.js";
import { countDescriptors, file, temporaryFolder, thrown } from "./resources.js";

countDescriptors();

const isRoot = process.getuid!() === 0;
const nobody = { uid: 65534, gid: 65534, groups: [65534] };

const impossible: Execution = {
  file: "/nonexistent/program",
  arguments: ["program"],
  environment: ["A=b"],
  keep: [],
  capabilities: [],
};

describe("landlockAbi", () => {
  it("is a version, or an errno below 0", () => {
    const abi = native.landlockAbi();
    expect(Number.isInteger(abi) && abi !== 0).toBe(true);
  });
});

describe("findAccount", () => {
  it("knows users by name", () => {
    expect(native.findAccount("root")).toEqual({ uid: 0, gid: 0 });
    expect(native.findAccount("no-such-user")).toBeUndefined();
    expect(native.findAccount("0")).toBeUndefined();
    expect(thrown(() => native.findAccount("x".repeat(256))).message).toBe(
      "user must be at most 255 bytes long, not 256",
    );
  });
});

describe("accountGroups", () => {
  it("are those of the account, by name or by number", () => {
    const groups = execFileSync("id", ["-G", "root"], { encoding: "utf8" }).trim().split(" ").map(Number);
    const sorted = (list: number[]) => list.sort((a, b) => a - b);
    expect(sorted(native.accountGroups("root", 0, 0))).toEqual(sorted(groups));
    expect(sorted(native.accountGroups("0", 0, 0))).toEqual(sorted(groups));
    expect(native.accountGroups("root", 0, 4242)).toContain(4242);
  });

  it("is the group alone without an account", () => {
    expect(native.accountGroups("54321", 54321, 54322)).toEqual([54322]);
  });
});

describe("tryReading", () => {
  it("tells what this process can read", async () => {
    const folder = await temporaryFolder();
    const path = join(folder, "file");
    writeFileSync(path, "");
    expect(native.tryReading(undefined, [path, folder, join(folder, "absent"), `${path}/x`])).toEqual([
      "",
      "",
      "ENOENT",
      "ENOTDIR",
    ]);
    expect(native.tryReading(undefined, [])).toEqual([]);
  });

  it("tells what another user can read, and leaves this process who it is", async () => {
    const folder = await temporaryFolder(); // of mode 0700
    const path = join(folder, "file");
    writeFileSync(path, "");
    const ask = () => native.tryReading(nobody, [path, "/etc/passwd"]);
    if (isRoot) {
      expect(ask()).toEqual(["EACCES", ""]);
    } else {
      expect(thrown(ask)).toMatchObject({ name: "SystemCallError", code: "EPERM", syscall: "setgroups" });
    }
    expect([process.geteuid!(), native.tryReading(undefined, [path])]).toEqual([process.getuid!(), [""]]);
  });
});

describe("execute", () => {
  it("names the call that failed, and what it was about", () => {
    const error = thrown(() => native.execute(impossible));
    expect(error).toMatchObject({ code: "ENOENT", syscall: "execve", subject: "/nonexistent/program" });
    expect(thrown(() => native.execute({ ...impossible, keep: [9999] }))).toMatchObject({
      code: "EBADF",
      syscall: "fcntl",
    });
  });

  it("changes nothing if it fails, however far it came", () => {
    const kept = file();
    const status = () =>
      execFileSync("cat", [`/proc/${process.pid}/status`], { encoding: "utf8" }).match(
        /^(Uid|Gid|Groups|Cap.*|NoNew.*):.*$/gm,
      );
    const before = status();
    const rules = [
      { path: "/usr", access: 0b1101 },
      { path: "/dev/null", access: 0xffff },
      { path: "/proc/nonexistent", access: 1 },
    ];
    const landlock = { handledFiles: 0x1fff, handledNetwork: 0, scoped: 0, rules };
    const everything: Execution = {
      ...impossible,
      keep: [kept],
      capabilities: [10],
      ...(isRoot ? { identity: nobody } : {}),
      ...(native.landlockAbi() > 0 ? { landlock } : {}),
    };
    for (let i = 0; i < 10; i++) expect(thrown(() => native.execute(everything)).syscall).toBe("execve");
    expect(status()).toEqual(before);
    expect(native.tryReading(undefined, ["/etc/passwd"])).toEqual([""]);
  });

  it("has Landlock refuse wrong rulesets by name", () => {
    const landlock = { handledFiles: 0x80000000, handledNetwork: 0, scoped: 0, rules: [] };
    const error = thrown(() => native.execute({ ...impossible, landlock }));
    expect(error.syscall).toBe("landlock_create_ruleset");
    expect(error.code).toBe(
      native.landlockAbi() > 0 ? "EINVAL" : { 38: "ENOSYS", 95: "EOPNOTSUPP" }[-native.landlockAbi()],
    );
  });

  it.each([
    ["file must be a string", { file: undefined }],
    ["file must be without NUL characters", { file: "a\0b" }],
    ["arguments must be an array", { arguments: "node" }],
    ["arguments must be a string", { arguments: ["node", 1] }],
    ["environment must be a string", { environment: [null] }],
    ["environment must be without NUL characters", { environment: ["A=\0"] }],
    ["keep must be an integer", { keep: [-1] }],
    ["capabilities must be an integer from 0 to 63", { capabilities: [64] }],
    ["uid must be given", { identity: { gid: 1, groups: [] } }],
    ["gid must be given", { identity: { uid: 1, groups: [] } }],
    ["uid must be an integer", { identity: { uid: 0xffffffff, gid: 1, groups: [] } }],
    ["groups must be an array", { identity: { uid: 1, gid: 1 } }],
    ["groups must be a number", { identity: { uid: 1, gid: 1, groups: ["1"] } }],
    ["rules must be an array", { landlock: { handledFiles: 1 } }],
    ["path must be a string", { landlock: { handledFiles: 1, rules: [{ access: 1 }] } }],
    ["access must be an integer", { landlock: { handledFiles: 1, rules: [{ path: "/", access: -1 }] } }],
  ])("refuses: %s", (message, wrong) => {
    const execution = { ...impossible, ...wrong } as unknown as Execution;
    expect(thrown(() => native.execute(execution)).message).toContain(message);
  });
});
