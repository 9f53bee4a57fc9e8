/** Capabilities by number: include/uapi/linux/capability.h, capabilities(7). */

const names = (
  "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE " +
  "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN " +
  "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE " +
  "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split(" ");

export const CAP_CHOWN = 0;
export const CAP_DAC_OVERRIDE = 1;
export const CAP_SETGID = 6;
export const CAP_SETUID = 7;
export const CAP_NET_BIND_SERVICE = 10;

/** Names ("CAP_CHOWN") of a set as /proc/PID/status has it: hexadecimal. */
export function capabilityNames(set: string): string[] {
  const bits = BigInt(`0x${set}`);
  return capabilityNumbers(bits).map((number) => (number < names.length ? `CAP_${names[number]}` : `CAP_${number}`));
}

/** Names in a few words, for people. */
export function describeCapabilities(held: readonly string[]): string {
  const lacking = names.map((name) => `CAP_${name}`).filter((name) => !held.includes(name));
  if (held.length === 0) return "no capabilities";
  if (lacking.length === 0) return "all capabilities";
  // Such as those that this kernel hasn't yet, or that a container's root lacks.
  return lacking.length < 5 ? `all capabilities but ${lacking.join(" ")}` : held.join(" ");
}

export function hasCapability(set: string, number: number): boolean {
  return ((BigInt(`0x${set}`) >> BigInt(number)) & 1n) === 1n;
}

function capabilityNumbers(bits: bigint): number[] {
  const numbers: number[] = [];
  for (let number = 0; number < 64; number++) if (((bits >> BigInt(number)) & 1n) === 1n) numbers.push(number);
  return numbers;
}
