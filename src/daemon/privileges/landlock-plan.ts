/**
 * What a running door may still reach, as Landlock rules. A rule holds for an inode and what is below it, not for a
 * name: rules are on folders that stay when what they hold is replaced.
 *
 * - Node itself is the only program that can be executed (an upgrade starts it), with the dynamic loader's folder.
 *   Where Node's binary was replaced since, an upgrade is refused: the new file is another inode.
 * - Read: the system's libraries, /etc, /proc, the package with all around it, and the folders of the configuration's
 *   files.
 * - Listed: the folder around each folder of instance sockets, and /run. Connecting to a unix socket, watching
 *   (inotify), stat and chdir are nothing that Landlock refuses.
 * - Written: the folders of the control socket and the pidfile.
 * - TCP: no connecting, unless the door starts a relay, which inherits all of this and does nothing else; binding only
 *   with `privileges.keepBindService`. (Listeners were bound before.)
 * - Signals, and abstract sockets unless some are needed, of processes started from this one only.
 */
import { dirname } from "node:path";
import type { LandlockRuleset } from "../../native/addon.js";
import {
  accessMask,
  accessOfAbi,
  BIND_TCP,
  CONNECT_TCP,
  type FileAccess,
  NETWORK_ABI,
  SCOPE_ABI,
  SCOPE_ABSTRACT_UNIX_SOCKET,
  SCOPE_SIGNAL,
} from "./access.js";
import { type Facts, isLoader, stableParentOfPackage } from "./facts.js";
import type { PrivilegeSettings } from "./settings.js";

export interface LandlockRule {
  readonly path: string;
  readonly access: readonly FileAccess[];
}

export interface LandlockPlan {
  readonly abi: number;
  readonly rules: readonly LandlockRule[];
  readonly refusesBind: boolean;
  readonly refusesConnect: boolean;
  readonly scopesSignals: boolean;
  readonly scopesAbstractSockets: boolean;
}

const READ: readonly FileAccess[] = ["read_file", "read_dir"];

/** Not all are on every system. */
const systemFolders = ["/usr", "/lib", "/lib64", "/etc", "/proc", "/sys/fs/cgroup", "/sys/devices/system"];

/** Undefined if the configuration or the kernel has none. */
export function landlockPlan(settings: PrivilegeSettings, facts: Facts): LandlockPlan | undefined {
  const abi = facts.landlockAbi;
  if (!settings.privileges.landlock || abi < 1) return undefined;
  const rules = new Rules(facts);
  for (const folder of systemFolders) rules.add(folder, READ);
  rules.add("/dev/null", ["read_file", "write_file"]);
  for (const device of ["/dev/urandom", "/dev/random"]) rules.add(device, ["read_file"]);
  rules.add(facts.node, ["execute", "read_file"]);
  for (const library of facts.libraries) {
    rules.add(dirname(library), isLoader(library) ? ["execute", ...READ] : READ);
  }
  rules.add(stableParentOfPackage(facts.package), READ);
  for (const file of settings.files) {
    rules.addFolderOf(file, READ);
    const real = facts.realpath(file);
    if (real !== undefined) rules.addFolderOf(real, READ);
  }
  rules.add("/run", ["read_dir"]);
  for (const folder of instanceFolders(settings)) {
    rules.addAround(folder);
    const real = facts.realpath(folder);
    if (real !== undefined) rules.addAround(real);
  }
  if (settings.control !== undefined && !isAbstract(settings.control.path)) {
    rules.add(dirname(settings.control.path), ["read_dir", "make_sock", "remove_file"]);
  }
  const startsRelay = settings.relay.start && settings.relay.backends.length > 0;
  if (startsRelay) {
    rules.add(settings.relay.folder.replace(/\/+$/, ""), [
      "read_dir",
      "make_dir",
      "make_sock",
      "remove_file",
      "remove_dir",
    ]);
    const resolvers = facts.realpath("/etc/resolv.conf");
    if (resolvers !== undefined) rules.addFolderOf(resolvers, READ);
  }
  if (settings.pidfile !== undefined) {
    rules.add(dirname(settings.pidfile), [...READ, "write_file", "truncate", "make_reg", "remove_file"]);
  }
  return {
    abi,
    rules: rules.list,
    refusesBind: abi >= NETWORK_ABI && !settings.privileges.keepBindService,
    refusesConnect: abi >= NETWORK_ABI && !startsRelay,
    scopesSignals: abi >= SCOPE_ABI,
    scopesAbstractSockets: abi >= SCOPE_ABI && !needsAbstractSockets(settings, facts),
  };
}

/** For the addon. */
export function landlockRuleset(plan: LandlockPlan): LandlockRuleset {
  return {
    handledFiles: accessOfAbi(plan.abi),
    handledNetwork: (plan.refusesBind ? BIND_TCP : 0) | (plan.refusesConnect ? CONNECT_TCP : 0),
    scoped: (plan.scopesSignals ? SCOPE_SIGNAL : 0) | (plan.scopesAbstractSockets ? SCOPE_ABSTRACT_UNIX_SOCKET : 0),
    rules: plan.rules.map(({ path, access }) => ({ path, access: accessMask(access) })),
  };
}

/** For the status and the log. */
export function landlockOutcome(settings: PrivilegeSettings, facts: Facts, plan: LandlockPlan | undefined): string {
  if (!settings.privileges.landlock) return "off";
  if (plan !== undefined) return `abi ${plan.abi}: ${plan.rules.length} paths`;
  switch (-facts.landlockAbi) {
    case ENOSYS:
      return "not in this kernel";
    case EOPNOTSUPP:
      return 'not enabled in this kernel (boot it with "lsm=landlock,…")';
    default:
      return `not available (errno ${-facts.landlockAbi})`;
  }
}

const ENOSYS = 38;
const EOPNOTSUPP = 95;

class Rules {
  private readonly facts: Facts;
  private readonly access: Map<string, Set<FileAccess>> = new Map();

  constructor(facts: Facts) {
    this.facts = facts;
  }

  get list(): LandlockRule[] {
    return [...this.access].map(([path, access]) => ({ path, access: [...access] }));
  }

  /** Nothing for a path that is not there, and nothing for the root folder: that would allow all. */
  add(path: string, access: readonly FileAccess[]): void {
    if (path === "/" || this.facts.realpath(path) === undefined) return;
    const known = this.access.get(path) ?? new Set();
    for (const each of access) known.add(each);
    this.access.set(path, known);
  }

  /** The folder of a file, so that another one may take its place; of a file in the root folder, itself. */
  addFolderOf(file: string, access: readonly FileAccess[]): void {
    const folder = dirname(file);
    this.add(folder === "/" ? file : folder, access);
  }

  /**
   * The folder around a folder of sockets, which goes and comes with its service; if that is not there yet, the nearest
   * one around it that is. A folder in the root folder can only be allowed itself.
   */
  addAround(folder: string): void {
    let around = dirname(folder);
    while (around !== "/" && this.facts.realpath(around) === undefined) around = dirname(around);
    this.add(around === "/" ? folder : around, ["read_dir"]);
  }
}

/** Without a "/" at their end. */
function instanceFolders(settings: PrivilegeSettings): string[] {
  const paths = settings.door.backends.flatMap((backend) => (backend.kind === "reject" ? [] : [backend.path]));
  return paths
    .filter((path) => !isAbstract(path))
    .map((path) => (path.endsWith("/") ? path.replace(/\/+$/, "") || "/" : dirname(path)));
}

function needsAbstractSockets(settings: PrivilegeSettings, facts: Facts): boolean {
  const { backends } = settings.door;
  const targets = settings.relay.start ? settings.relay.backends.flatMap((backend) => backend.targets) : [];
  if (targets.some(({ text }) => text.startsWith("unix:@"))) return true;
  return isAbstract(facts.notifySocket) || backends.some((each) => each.kind !== "reject" && isAbstract(each.path));
}

function isAbstract(path: string): boolean {
  return path.startsWith("@");
}
