/** A process as messages name it, by what SO_PEERCRED says: 0 is one that has no number in this pid namespace (pid_namespaces(7)). */
export function processName(pid: number): string {
  return pid === 0 ? "a process of another pid namespace" : `process ${pid}`;
}
