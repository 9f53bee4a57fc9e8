/** Landlock's access rights by name: include/uapi/linux/landlock.h, landlock(7). */

/** Bit of each right on files and folders. */
const fileBits = {
  execute: 0,
  write_file: 1,
  read_file: 2,
  read_dir: 3,
  remove_dir: 4,
  remove_file: 5,
  make_char: 6,
  make_dir: 7,
  make_reg: 8,
  make_sock: 9,
  make_fifo: 10,
  make_block: 11,
  make_sym: 12,
  refer: 13,
  truncate: 14,
  ioctl_dev: 15,
} as const;
export type FileAccess = keyof typeof fileBits;

/** The first ABI that has a right, where that is not the first of all. */
const since: Partial<Record<FileAccess, number>> = { refer: 2, truncate: 3, ioctl_dev: 5 };

export const NETWORK_ABI = 4;
export const SCOPE_ABI = 6;

export const BIND_TCP = 1 << 0;
export const CONNECT_TCP = 1 << 1;
export const SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0;
export const SCOPE_SIGNAL = 1 << 1;

export function accessMask(names: Iterable<FileAccess>): number {
  let mask = 0;
  for (const name of names) mask |= 1 << fileBits[name];
  return mask;
}

/** All rights that a kernel with this ABI can refuse. Connecting to unix sockets is in none of these. */
export function accessOfAbi(abi: number): number {
  const names = Object.keys(fileBits) as FileAccess[];
  return accessMask(names.filter((name) => (since[name] ?? 1) <= abi));
}
