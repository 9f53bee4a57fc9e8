/**
 * Where instances are: the sockets in backends' folders, and the moment at which a path appears. inotify (fs.watch) makes
 * it quick; a look once a second makes it certain, since folders come and go.
 */
import { type Dirent, type FSWatcher, opendirSync, statSync, watch } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { BackendSettings } from "../door/settings.js";

const LOOK_EVERY = 1000;
/** A path appears at bind(2), a moment before listen(2): it is announced again after these times. Milliseconds. */
const ANNOUNCE_AFTER = [0, 10, 50, 250];
/**
 * Instances of one backend. Each has a descriptor in every worker, and is connected to again and again: whoever owns a
 * backend's folder must not be able to take all of either from the others.
 */
export const MOST_INSTANCES = 256;
/** Entries that are looked at in a folder, for the same reason. */
const MOST_ENTRIES = 4096;
/** Between two looks at a folder in which something changes all the time. Milliseconds. */
const LOOK_REST = 20;
/** Announcements that are due, of all folders together; who makes more sockets than that is looked for in the folder. */
const MOST_ANNOUNCEMENTS = 4 * MOST_INSTANCES;

export interface InstanceWatchListener {
  /** The sockets in the folder of the backend with this index have changed. */
  instances(backend: number, paths: readonly string[]): void;
  /** A socket appeared, or was replaced. */
  appeared(path: string): void;
  /** Not used: more users than root and its owner may write to this folder, and so could be an instance. */
  insecure(folder: string, mode: number): void;
  /** A backend's folder has more sockets, or entries, than are looked at: once, until it has fewer. */
  tooMany(folder: string): void;
  /** A backend's folder cannot be read: once for each cause. Instances that were found in it before stay, unless it is gone. */
  unreadable(backend: number, folder: string, error: NodeJS.ErrnoException): void;
}

export class InstanceWatch {
  private readonly listener: InstanceWatchListener;
  /** Folders of which every socket is an instance: backend indices by folder. */
  private readonly pools: Map<string, number[]> = new Map();
  /** Single paths, by the folder that they are in. */
  private readonly paths: Map<string, Set<string>> = new Map();
  private readonly watchers: Map<string, FSWatcher> = new Map();
  private readonly found: string[][];
  private readonly insecure: Set<string> = new Set();
  private readonly crowded: Set<string> = new Set();
  /** Folders that were looked at a moment ago: whether something has changed since. */
  private readonly resting: Map<string, boolean> = new Map();
  private announcements: number = 0;
  /** Why folders could not be read at the last look: errno names. */
  private readonly unreadable: Map<string, string | undefined> = new Map();
  private readonly timer: NodeJS.Timeout;

  constructor(backends: readonly BackendSettings[], listener: InstanceWatchListener) {
    this.listener = listener;
    this.found = backends.map(() => []);
    backends.forEach((backend, index) => {
      if (backend.kind === "reject" || backend.path.startsWith("@")) return;
      if (backend.path.endsWith("/")) {
        const indices = this.pools.get(backend.path) ?? [];
        this.pools.set(backend.path, [...indices, index]);
      } else {
        const folder = `${dirname(backend.path)}/`;
        const names = this.paths.get(folder) ?? new Set();
        this.paths.set(folder, names.add(basename(backend.path)));
      }
    });
    this.look(false);
    this.timer = setInterval(() => this.look(true), LOOK_EVERY);
    this.timer.unref();
  }

  /** The sockets in each backend's folder, by backend index; empty for backends without one. */
  get instances(): readonly (readonly string[])[] {
    return this.found;
  }

  /** Looks now: somebody knows that instances have come. */
  again(): void {
    this.look(true);
  }

  close(): void {
    clearInterval(this.timer);
    for (const watcher of this.watchers.values()) watcher.close();
    this.watchers.clear();
    this.resting.clear();
  }

  private look(announce: boolean): void {
    for (const folder of this.pools.keys()) {
      this.watch(folder);
      this.scan(folder, announce);
    }
    for (const folder of this.paths.keys()) this.watch(folder);
  }

  private watch(folder: string): void {
    if (this.watchers.has(folder)) return;
    try {
      const watcher = watch(folder, { persistent: false }, (event, name) => this.changed(folder, event, name));
      // The folder went away, or the user's inotify watches are used up: the look once a second goes on.
      watcher.on("error", () => this.forget(folder));
      this.watchers.set(folder, watcher);
    } catch {
      // It is not there yet, or may not be read.
    }
  }

  private forget(folder: string): void {
    this.watchers.get(folder)?.close();
    this.watchers.delete(folder);
  }

  private changed(folder: string, event: string, name: string | null): void {
    if (event !== "rename") return;
    // inotify names the folder itself when it is removed: then watch whatever takes its place.
    if (name === null || name === basename(folder)) this.forget(folder);
    if (this.pools.has(folder)) this.scanSoon(folder);
    if (name === null) return;
    if (!this.pools.has(folder) && this.paths.get(folder)?.has(name) !== true) return;
    if (this.announcements >= MOST_ANNOUNCEMENTS) return;
    for (const delay of ANNOUNCE_AFTER) {
      this.announcements++;
      setTimeout(() => {
        this.announcements--;
        this.listener.appeared(join(folder, name));
      }, delay).unref();
    }
  }

  /** At once, but not for every one of many changes. */
  private scanSoon(folder: string): void {
    if (this.resting.has(folder)) {
      this.resting.set(folder, true);
      return;
    }
    this.scan(folder, true);
    this.resting.set(folder, false);
    setTimeout(() => {
      const changed = this.resting.get(folder);
      this.resting.delete(folder);
      if (changed === true) this.scanSoon(folder);
    }, LOOK_REST).unref();
  }

  /** Whoever may make a socket in the folder is served connections: that is for root and the folder's owner. */
  private isSecure(folder: string): boolean {
    let mode: number;
    try {
      mode = statSync(folder).mode & 0o7777;
    } catch {
      return true; // not there: nothing to be served
    }
    if ((mode & WRITABLE_BY_OTHERS) === 0) {
      this.insecure.delete(folder);
      return true;
    }
    if (!this.insecure.has(folder)) {
      this.insecure.add(folder);
      this.listener.insecure(folder, mode);
    }
    return false;
  }

  private scan(folder: string, announce: boolean): void {
    const paths = this.isSecure(folder) ? this.socketsIn(folder) : [];
    if (paths === undefined) return;
    for (const index of this.pools.get(folder)!) {
      const before = this.found[index]!;
      if (before.length === paths.length && before.every((path, i) => path === paths[i])) continue;
      this.found[index] = paths;
      if (announce) this.listener.instances(index, paths);
    }
  }

  private noteCrowd(folder: string, isCrowded: boolean): void {
    if (this.crowded.has(folder) === isCrowded) return;
    if (!isCrowded) {
      this.crowded.delete(folder);
      return;
    }
    this.crowded.add(folder);
    this.listener.tooMany(folder);
  }

  /** Paths of the sockets in a folder, sorted; undefined if it cannot be told now, for want of descriptors for example. */
  private socketsIn(folder: string): string[] | undefined {
    try {
      const entries = entriesOf(folder);
      const paths = entries.filter((entry) => entry.isSocket()).map((entry) => join(folder, entry.name));
      this.unreadable.delete(folder);
      this.noteCrowd(folder, entries.length >= MOST_ENTRIES || paths.length > MOST_INSTANCES);
      return paths.sort().slice(0, MOST_INSTANCES);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (this.unreadable.get(folder) !== code) {
        this.unreadable.set(folder, code);
        for (const index of this.pools.get(folder)!) this.listener.unreadable(index, folder, error as Error);
      }
      return code === "ENOENT" || code === "ENOTDIR" ? [] : undefined;
    }
  }
}

/** At most MOST_ENTRIES, in no order. */
function entriesOf(folder: string): Dirent[] {
  const entries: Dirent[] = [];
  const directory = opendirSync(folder);
  try {
    for (let entry = directory.readSync(); entry !== null; entry = directory.readSync()) {
      entries.push(entry);
      if (entries.length === MOST_ENTRIES) break;
    }
    return entries;
  } finally {
    directory.closeSync();
  }
}

/** Permission bits with which a group or everybody may make sockets in a folder. */
const WRITABLE_BY_OTHERS = 0o022;
