/** Plans, without carrying them out. */
import { describe, expect, it } from "vitest";
import { accessMask, accessOfAbi } from "../../../src/daemon/privileges/access.js";
import { beyondReach } from "../../../src/daemon/privileges/beyond-reach.js";
import { capabilityNames, hasCapability } from "../../../src/daemon/privileges/capabilities.js";
import { type Facts, isLoader, mappedLibraries, stableParentOfPackage } from "../../../src/daemon/privileges/facts.js";
import { identityOf } from "../../../src/daemon/privileges/identity.js";
import { withoutInspector } from "../../../src/daemon/privileges/inspector.js";
import { landlockOutcome, landlockPlan, landlockRuleset } from "../../../src/daemon/privileges/landlock-plan.js";
import { parseProcessStatus } from "../../../src/daemon/privileges/process-status.js";
import type { PrivilegeSettings } from "../../../src/daemon/privileges/settings.js";
import type { BackendSettings } from "../../../src/door/settings.js";

const loader = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";

/** A machine that has every path but those in `absent`; `links` are the others' real paths. */
function facts(over: Partial<Facts> & { absent?: string[]; links?: Record<string, string> } = {}): Facts {
  const { absent = [], links = {}, ...rest } = over;
  return {
    landlockAbi: 7,
    node: "/usr/bin/node",
    package: "/usr/local/lib/node_modules/sni-handoff",
    libraries: [loader, "/usr/lib/x86_64-linux-gnu/libc.so.6"],
    notifySocket: "/run/systemd/notify",
    realpath: (path) => (absent.includes(path) ? undefined : (links[path] ?? path)),
    ...rest,
  };
}

function settings(over: Partial<PrivilegeSettings> & { paths?: string[] } = {}): PrivilegeSettings {
  const { paths = [], ...rest } = over;
  const backends = paths.map((path) => ({ kind: "handoff", name: "app", path }) as BackendSettings);
  return {
    file: "/etc/sni-handoff/door.yaml",
    files: ["/etc/sni-handoff/door.yaml"],
    door: { backends: [...backends, { kind: "reject", name: "sorry", reject: "reset" }] },
    control: undefined,
    relay: { folder: "/run/sni-handoff/relay/", start: true, backends: [] },
    pidfile: undefined,
    identity: undefined,
    privileges: { landlock: true, keepBindService: false },
    ...rest,
  };
}

/** Access by path. */
function rules(over: Parameters<typeof settings>[0] = {}, about: Parameters<typeof facts>[0] = {}) {
  const plan = landlockPlan(settings(over), facts(about))!;
  return Object.fromEntries(plan.rules.map(({ path, access }) => [path, access.join(" ")]));
}

describe("the Landlock plan", () => {
  it("allows to execute Node and the dynamic loader, and nothing else", () => {
    const execute = Object.entries(rules()).filter(([, access]) => access.includes("execute"));
    expect(execute.map(([path]) => path)).toEqual(["/usr/bin/node", "/usr/lib/x86_64-linux-gnu"]);
  });

  it("lets a relay that the door starts make its sockets, read resolv.conf, and connect; one that it does not start, nothing", () => {
    const backends = [{ targets: [{ kind: "unix", text: "unix:@app" }] }];
    const relay = { folder: "/run/door/control.relay/", start: true, backends };
    const links = { "/etc/resolv.conf": "/run/systemd/resolve/stub-resolv.conf" };
    expect(rules({ relay }, { links })).toMatchObject({
      "/run/door/control.relay": "read_dir make_dir make_sock remove_file remove_dir",
      "/run/systemd/resolve": "read_file read_dir",
    });
    expect(landlockPlan(settings({ relay }), facts())).toMatchObject({
      refusesConnect: false,
      scopesAbstractSockets: false,
    });
    const other = settings({ relay: { ...relay, start: false } });
    expect(landlockPlan(other, facts())).toMatchObject({ refusesConnect: true, scopesAbstractSockets: true });
    expect(rules({ relay: { ...relay, start: false } }, { links })).not.toHaveProperty("/run/door/control.relay");
  });

  it("allows to write nothing but /dev/null without a control socket or a pidfile", () => {
    const writing = Object.entries(rules({ paths: ["/run/app/door.sock"] })).filter(([, access]) =>
      /write|make|remove|truncate|refer|ioctl/.test(access),
    );
    expect(writing).toEqual([["/dev/null", "read_file write_file"]]);
  });

  it("allows sockets and files where the control socket and the pidfile are", () => {
    const { "/run/door": control, "/var/lib/door": pidfile } = rules({
      control: { path: "/run/door/control.sock" },
      pidfile: "/var/lib/door/pid",
    });
    expect(control).toBe("read_dir make_sock remove_file");
    expect(pidfile).toBe("read_file read_dir write_file truncate make_reg remove_file");
  });

  it.each([
    ["/srv/app/door.sock", "/srv"],
    ["/srv/run/app/door.sock", "/srv/run"],
    ["/srv/pool.d/", "/srv"],
    ["/sockets/door.sock", "/sockets"],
    ["/sockets/", "/sockets"],
    ["/run/door.sock", "/run"],
  ])("lists for %s the folder %s, which stays when the socket's folder is made again", (path, folder) => {
    expect(rules({ paths: [path] })[folder]).toBe("read_dir");
  });

  it("lists the nearest folder that is there, and where links lead", () => {
    expect(rules({ paths: ["/srv/run/app/door.sock"] }, { absent: ["/srv/run", "/srv/run/app"] })["/srv"]).toBe(
      "read_dir",
    );
    expect(rules({ paths: ["/srv/app/door.sock"] }, { links: { "/srv/app": "/data/v1/app" } })["/data/v1"]).toBe(
      "read_dir",
    );
  });

  it("never allows the root folder", () => {
    const paths = ["/door.sock", "/", "/a/b/", "@abstract"];
    const files = ["/door.yaml", "/conf/tenants.map"];
    const all = rules({ paths, files, control: { path: "/control.sock" }, pidfile: "/pid" }, { absent: ["/a"] });
    expect(all).not.toHaveProperty("/");
    expect(all["/door.yaml"]).toBe("read_file read_dir");
    expect(all["/conf"]).toBe("read_file read_dir");
  });

  it("reads the folders of all configuration files, also behind links", () => {
    const files = ["/srv/door/door.yaml", "/srv/maps/tenants.map"];
    const all = rules({ files }, { links: { "/srv/maps/tenants.map": "/data/maps/tenants.map" } });
    for (const folder of ["/srv/door", "/srv/maps", "/data/maps"]) expect(all[folder]).toBe("read_file read_dir");
  });

  it("has no rule for what is not there", () => {
    expect(rules({}, { absent: ["/lib64"] })).not.toHaveProperty("/lib64");
  });

  it("refuses TCP, and binding unless it is kept", () => {
    const network = (keepBindService: boolean, landlockAbi = 7) => {
      const plan = landlockPlan(settings({ privileges: { landlock: true, keepBindService } }), facts({ landlockAbi }))!;
      return landlockRuleset(plan).handledNetwork;
    };
    expect([network(false), network(true), network(false, 4), network(false, 3)]).toEqual([3, 2, 3, 0]);
  });

  it("keeps abstract sockets in reach if a backend or systemd has one", () => {
    const scoped = (paths: string[], about: Parameters<typeof facts>[0] = {}) =>
      landlockRuleset(landlockPlan(settings({ paths }), facts(about))!).scoped;
    expect(scoped(["/run/app.sock"])).toBe(3);
    expect(scoped(["@app"])).toBe(2);
    expect(scoped([], { notifySocket: "@notify" })).toBe(2);
    expect(scoped([], { landlockAbi: 5 })).toBe(0);
  });

  it("names only rights that the kernel knows", () => {
    expect([1, 2, 3, 4, 5, 6, 7, 99].map(accessOfAbi)).toEqual([
      0x1fff, 0x3fff, 0x7fff, 0x7fff, 0xffff, 0xffff, 0xffff, 0xffff,
    ]);
    expect(accessMask(["execute", "read_file", "read_dir"])).toBe(0b1101);
  });

  it.each([
    [true, 7, /^abi 7: \d+ paths$/],
    [true, -38, /^not in this kernel$/],
    [true, -95, /^not enabled in this kernel/],
    [true, -1, /^not available \(errno 1\)$/],
    [false, 7, /^off$/],
  ])("says what comes of it: configured %s, abi %i", (landlock, landlockAbi, outcome) => {
    const wanted = settings({ privileges: { landlock, keepBindService: false } });
    const about = facts({ landlockAbi });
    const plan = landlockPlan(wanted, about);
    expect(plan === undefined).toBe(!landlock || landlockAbi < 1);
    expect(landlockOutcome(wanted, about, plan)).toMatch(outcome);
  });
});

describe("a configuration that is loaded later", () => {
  const plan = (over: Parameters<typeof settings>[0]) => landlockPlan(settings(over), facts());
  const first = plan({ paths: ["/run/app/door.sock", "/srv/a/door.sock"], pidfile: "/var/lib/door/pid" });

  it("needs nothing new if it stays within the folders", () => {
    expect(beyondReach(first, first)).toEqual([]);
    const next = plan({ paths: ["/srv/b/door.sock", "/run/x/y/"], files: ["/etc/elsewhere/door.yaml"] });
    expect(beyondReach(first, next)).toEqual([]);
    expect(beyondReach(undefined, next)).toEqual([]);
    expect(beyondReach(first, undefined)).toEqual([]);
  });

  it("is told what is out of reach", () => {
    const next = plan({
      paths: ["/srvices/a/door.sock", "@abstract"],
      files: ["/srv/conf/door.yaml"],
      pidfile: "/var/lib/other/pid",
      privileges: { landlock: true, keepBindService: true },
    });
    expect(beyondReach(first, next)).toEqual([
      "/srv/conf (read_file)",
      "/srvices (read_dir)",
      "/var/lib/other (read_file, read_dir, write_file, truncate, make_reg, remove_file)",
      "binding TCP ports (privileges.keepBindService)",
      'abstract unix sockets ("@…")',
    ]);
  });
});

describe("facts", () => {
  it("know libraries and the dynamic loader from the memory map", () => {
    const maps = [
      "00400000-07246000 r-xp 00000000 fe:00 136   /usr/bin/node",
      `7f00-7f01 r--p 00000000 fe:00 137   ${loader}`,
      `7f01-7f02 r-xp 00000000 fe:00 137   ${loader}`,
      "7f03-7f04 r-xp 00000000 fe:00 138   /lib/ld-musl-x86_64.so.1",
      "7f05-7f06 r-xp 00000000 fe:00 139   /opt/a b/native/build/Release/sni_handoff.node",
      "7f06-7f07 r-xp 00000000 fe:00 140   /usr/lib/libgone.so.1 (deleted)",
      "7ffc-7ffd rw-p 00000000 00:00 0     [stack]",
    ].join("\n");
    const libraries = mappedLibraries(maps);
    expect(libraries).toEqual([loader, "/lib/ld-musl-x86_64.so.1", "/opt/a b/native/build/Release/sni_handoff.node"]);
    expect(libraries.map(isLoader)).toEqual([true, true, false]);
    expect(["/lib64/ld64.so.2", "/lib/ld-2.31.so", "/usr/lib/libld.so"].map(isLoader)).toEqual([true, true, false]);
  });

  it.each([
    ["/usr/local/lib/node_modules/sni-handoff", "/usr/local/lib/node_modules"],
    ["/srv/app/node_modules/.pnpm/sni-handoff@1.0.0/node_modules/sni-handoff", "/srv/app/node_modules"],
    ["/opt/sni-handoff", "/opt"],
    ["/home/me/node_modules", "/home/me"],
  ])("know where the package %s may be replaced", (folder, parent) => {
    expect(stableParentOfPackage(folder)).toBe(parent);
  });
});

describe("the state of a process", () => {
  const text = "Name:\tnode\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nCapEff:\t0000000000000402\nNoNewPrivs:\t1\n";

  it("is read from proc(5)", () => {
    expect(parseProcessStatus(text)).toEqual({
      uid: 2,
      gid: 6,
      capabilities: "0000000000000402",
      noNewPrivileges: true,
    });
  });

  it("names capabilities, those of later kernels by number", () => {
    expect(capabilityNames("0000000000000402")).toEqual(["CAP_DAC_OVERRIDE", "CAP_NET_BIND_SERVICE"]);
    expect(capabilityNames("000001fffeffffff")).toHaveLength(40);
    expect(capabilityNames("8000010000000000")).toEqual(["CAP_CHECKPOINT_RESTORE", "CAP_63"]);
    expect(hasCapability("0000000000000402", 10)).toBe(true);
    expect(hasCapability("0000000000000402", 6)).toBe(false);
  });
});

describe("the user to become", () => {
  const identity = { uid: 65534, gid: 65534, user: "65534" };
  const status = (uid: number, capabilities: string) => ({ uid, gid: uid, capabilities, noNewPrivileges: false });

  it("is nobody else if none is configured, or the process is that user", () => {
    expect(identityOf(settings(), status(0, "1ff"))).toBeUndefined();
    expect(identityOf(settings({ identity }), status(65534, "0"))).toBeUndefined();
  });

  it("comes with its groups where the process may change", () => {
    expect(identityOf(settings({ identity }), status(0, "1ff"))).toEqual({ uid: 65534, gid: 65534, groups: [65534] });
    expect(identityOf(settings({ identity }), status(7, "c0"))).toMatchObject({ uid: 65534 });
  });

  it("is refused without the capabilities, with what to do", () => {
    for (const capabilities of ["0", "40", "80"]) {
      expect(() => identityOf(settings({ identity }), status(7, capabilities))).toThrow(
        '/etc/sni-handoff/door.yaml: user: this process runs as user 7, group 7 and may not become user 65534, group 65534; start it as root, or as that user and group, or remove "user" and "group"',
      );
    }
  });
});

describe("Node's own arguments", () => {
  it("give the inspector no address, unless it is asked for", () => {
    expect(withoutInspector(["--expose-gc"])).toEqual(["--inspect-port=192.0.2.1:9229", "--expose-gc"]);
    for (const asked of ["--inspect", "--inspect-brk=0", "--inspect-port=1234", "--debug-port=1234"]) {
      expect(withoutInspector([asked])).toEqual([asked]);
    }
  });
});
