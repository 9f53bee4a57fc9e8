/**
 * What the C addon (native/) offers, and the only place that loads it.
 *
 * Every call that can fail throws a `SystemCallError` (call, errno name, path or address), unless its documentation
 * says that it returns the errno. Descriptors are plain numbers; each entry says who closes them.
 */
import { createRequire } from "node:module";
import { builtFile } from "../built.js";
import { HandoffError, SystemCallError } from "../errors.js";

/** Kinds of unix sockets that the addon makes. */
export type UnixSocketType = "seqpacket" | "stream" | "dgram";

/** Who is at the other end of a unix socket: unix(7), SO_PEERCRED and SCM_CREDENTIALS. */
export interface Credentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

export interface TcpAddress {
  readonly family: "IPv4" | "IPv6";
  /** Numeric, without brackets; an IPv6 zone is kept as `%name`. */
  readonly address: string;
  readonly port: number;
}

/** Options of a listening TCP socket: tcp(7), ip(7), ipv6(7), socket(7). */
export interface TcpListenOptions {
  /** Numeric IPv4 or IPv6 address (with `%zone` if link-local). */
  readonly address: string;
  /** 0 lets the kernel choose. */
  readonly port: number;
  /** listen(2) backlog; the kernel caps it at net.core.somaxconn. */
  readonly backlog: number;
  /** IPV6_V6ONLY. */
  readonly v6Only?: boolean;
  /** IP_FREEBIND: bind an address that the host doesn't have yet. */
  readonly freebind?: boolean;
  /** TCP_DEFER_ACCEPT in seconds; 0 leaves it off. */
  readonly deferAccept?: number;
  /** SO_KEEPALIVE, inherited by the accepted sockets. */
  readonly keepAlive?: boolean;
}

export interface UnixListenOptions {
  readonly backlog: number;
  /** Permission bits of the path; ignored for abstract addresses. */
  readonly mode?: number;
  /** Owner and group of the path; -1 or absent leaves them. */
  readonly uid?: number;
  readonly gid?: number;
}

/** Sizes of a `Loop`'s batches. All are checked in C against these for the life of the loop. */
export interface LoopSizes {
  /** Most events that one wait returns. */
  readonly events: number;
  /** Most connections that one accept or peek call handles. */
  readonly peeks: number;
  /** Bytes reserved for each peeked connection. Memory that no peek has reached costs nothing. */
  readonly peekBytes: number;
  /** Most messages that one send call handles. */
  readonly sends: number;
  /** Bytes for all messages of one send call together. */
  readonly sendBytes: number;
  /** Most descriptors that one close call handles. */
  readonly closes: number;
}

/**
 * The system calls of one data-plane worker, over typed arrays that were allocated once. One per thread; every array
 * below is a view of memory that lives as long as the loop.
 */
export interface Loop {
  /** Three words an event of the last `wait`: epoll events, then the tag and the index that `add` was given. */
  readonly events: Uint32Array;
  /**
   * [0] CLOCK_MONOTONIC in milliseconds, [1] CLOCK_REALTIME in milliseconds; set by every `wait`. [2] milliseconds spent
   * in `wait` so far, those without a timeout (0) apart.
   */
  readonly clock: Float64Array;
  /** CLOCK_REALTIME in nanoseconds as a little-endian u64 in two words; set with `clock`. */
  readonly clockWords: Uint32Array;
  /**
   * [0] is 1 after a `wait` when libuv wants a turn: return from the callback of `run` as soon as possible.
   * [1] is the errno that ended the last `accept`: EAGAIN when all that waited are accepted, EMFILE, ENFILE, ENOBUFS,
   * ENOMEM, …; 0 if `max` was reached.
   * [2] in: most bytes that are peeked of a connection, from 1 to `peekBytes`, which it is at first.
   */
  readonly flags: Int32Array;

  /** In (peek) and out (accept): a descriptor for each connection of the batch. */
  readonly peekDescriptors: Int32Array;
  /** Out: bytes peeked, 0 at end of file, or a negative errno (-EAGAIN: nothing there yet). */
  readonly peekLengths: Int32Array;
  /** Out: the peeked bytes; those of connection i begin at i * peekBytes. */
  readonly peekBuffer: Uint8Array;
  /** Out of accept: the client's address, 20 bytes each: family u8 (4 or 6), 0, port u16 big-endian, 16 bytes of address (IPv4 uses the first 4). An IPv4 client of an IPv6 listener (::ffff:a.b.c.d) is family 4. */
  readonly peekAddresses: Uint8Array;

  /** In: the channel of message i. Consecutive messages of one channel are sent by one sendmmsg(2). */
  readonly sendChannels: Int32Array;
  /** In: the descriptor that goes with message i, or -1 for none. It stays open: sending duplicates it. */
  readonly sendDescriptors: Int32Array;
  /** In: where message i begins in `sendBuffer`, and its length. */
  readonly sendOffsets: Uint32Array;
  readonly sendLengths: Uint32Array;
  readonly sendBuffer: Uint8Array;
  /** Out: 0, or the positive errno; ECANCELED for those behind a failed message of the same channel, which were not tried. */
  readonly sendResults: Int32Array;

  /** In: descriptors to close. */
  readonly closeDescriptors: Int32Array;

  /** Messages of the last `receive`. Door-ward messages never carry descriptors; those that arrive are closed and reported. */
  readonly received: ReceiveBatch;

  /**
   * Runs `turn` from libuv's check phase, again and again, until `stop`. `turn` loops over `wait` by itself and returns
   * when `flags[0]` is set. While it blocks in `wait`, the thread's libuv loop (messages, termination, inspector,
   * profiler, timers) is watched too. An exception out of `turn` is the thread's uncaught exception and ends the run.
   * Returns at once; keeps the thread alive until `stop`.
   */
  run(turn: () => void): void;
  stop(): void;

  /** epoll_ctl ADD. `tag` and `index` (u32 each) come back in `events`; the tags from 0xfffffffe are reserved. */
  add(fd: number, events: number, tag: number, index: number): void;
  modify(fd: number, events: number, tag: number, index: number): void;
  /** epoll_ctl DEL; a descriptor that is not in the set is no error. */
  remove(fd: number): void;
  /** As `add`, for a descriptor whose events may wait a little: see `wait`. */
  addLazy(fd: number, events: number, tag: number, index: number): void;
  /** As `remove`, of one that `addLazy` added. Closing its last descriptor does it too. */
  removeLazy(fd: number): void;
  /**
   * epoll_wait(2): at most `timeout` milliseconds (-1: no limit; fractions count). Returns how many events; EINTR returns 0.
   *
   * With a `patience` (milliseconds; 0: none) events of lazy descriptors alone end the wait only when that time is over:
   * they come with whatever else ends it. A waking costs as much as taking in several events. Where others have filled
   * `events`, their turn comes in one of the next waits, whatever the patience.
   */
  wait(timeout: number, patience: number): number;

  /**
   * accept4(2) up to `max` connections (no SOCK_NONBLOCK, so the receiver sets its own flags; SOCK_CLOEXEC) and one
   * recv(MSG_PEEK | MSG_DONTWAIT) each. Returns how many; ones that died in between (ECONNABORTED, EPROTO…) are passed
   * over. `flags[1]` tells why it ended before `max`. The caller closes the descriptors. The listener must be
   * non-blocking (`setNonBlocking`, if it was inherited).
   */
  accept(listener: number, max: number): number;

  /** recv(MSG_PEEK | MSG_DONTWAIT) for the first `count` of `peekDescriptors`. */
  peek(count: number): void;
  /** Sleeps, whatever happens meanwhile: `milliseconds`, at most 1. Counts as waiting. */
  pause(milliseconds: number): void;
  /** sendmmsg(2) with MSG_DONTWAIT | MSG_NOSIGNAL for the first `count` messages, one descriptor a message. */
  send(count: number): void;
  /** recvmmsg(2) until empty or the batch is full: see `ReceiveBatch`. Returns the number of messages. */
  receive(channel: number): number;
  /**
   * Closes the first `count` of `closeDescriptors`. A socket whose close would linger (SO_LINGER with a time, set by
   * the backend: socket(7)) is closed by a thread of its own, so that this never blocks. Returns how many those were.
   */
  close(count: number): number;
  /** Frees the epoll set; the other memory goes with the object. */
  destroy(): void;
}

/** Messages read from a channel in one call: recvmmsg(2). Arrays have room for `capacity` messages. */
export interface ReceiveBatch {
  readonly capacity: number;
  /** Bytes reserved a message (1024, MAX_MESSAGE_LENGTH, unless another was asked for); message i begins at i * stride. */
  readonly stride: number;
  readonly buffer: Uint8Array;
  /** Length of message i; more than `stride` means that it was truncated (MSG_TRUNC) and how long it was. */
  readonly lengths: Int32Array;
  /** One `Arrival` a message: what came beside the bytes. */
  readonly arrivals: Int32Array;
  /** The descriptor of message i if its arrival is TCP or DEAD (the caller closes it), else -1. */
  readonly descriptors: Int32Array;
  /** pid, uid and gid of the sender of message i, where the socket asks for them (SO_PASSCRED); else -1 each. */
  readonly credentials: Int32Array;
  /** [0]: how reading ended, one of `ReceiveEnd` (a batch that ends in empty records counts as CLOSED). [1]: errno if that is FAILED. [2]: 1 if a reset was seen (the peer closed with unread messages); reading went on behind it. */
  readonly end: Int32Array;
}

/** What came beside a message's bytes. Everything but TCP and DEAD has been closed by the addon already. */
export const Arrival = {
  /** No descriptor was sent. */
  NONE: 0,
  /** Exactly one, a connected TCP socket. */
  TCP: 1,
  /** Exactly one, a TCP socket that is connected no more (state CLOSE). */
  DEAD: 2,
  /** One was sent but could not be received (MSG_CTRUNC: this process is at its limit of descriptors). */
  LOST: 3,
  /** More than one. */
  SEVERAL: 4,
  /** Exactly one, something else than a connected TCP socket. */
  OTHER: 5,
} as const;
export type Arrival = (typeof Arrival)[keyof typeof Arrival];

export const ReceiveEnd = {
  /** The queue is empty (EAGAIN). */
  EMPTY: 0,
  /** The batch is full; there may be more. */
  FULL: 1,
  /** The peer closed, and everything that it had sent before was read. */
  CLOSED: 2,
  /** Another errno, in end[1]. */
  FAILED: 3,
} as const;

/**
 * Watches one descriptor from libuv's loop (uv_poll, which makes it non-blocking). The descriptor stays the caller's and
 * must outlive the watch. An open watch is not garbage-collected.
 */
export interface Watch {
  /** Chooses what is watched: readable 1, writable 2, both 3, nothing 0. */
  select(events: number): void;
  /** Keeps the process alive, or doesn't. Referenced at first. */
  ref(): void;
  unref(): void;
  /**
   * If the thread ends while the watch is open, as by worker.terminate(), which runs no JavaScript, the descriptor is
   * closed with it.
   */
  own(): void;
  /** Stops watching, for good. The caller may close the descriptor at once. */
  close(): void;
}

/** A channel's receiving side on libuv's loop. */
export interface MessageWatch extends Watch {
  readonly batch: ReceiveBatch;
}

/** Result of `intact`. */
export const Intact = {
  /** Nothing was read beyond what the door consumed, nothing was written: any backend may have it. */
  WHOLE: 0,
  /** Somebody read from it or wrote to it. */
  TOUCHED: 1,
  /** The connection is closed (TCP state CLOSE): the client is gone. */
  GONE: 2,
} as const;
export type Intact = (typeof Intact)[keyof typeof Intact];

/** Sizes of a `Splicer`. All are checked in C against these for its life. */
export interface SplicerSizes {
  /** Most pairs of sockets. */
  readonly rows: number;
  /** Most rows that one `move` handles. */
  readonly batch: number;
  /** Most pipes that are open at once; each takes two descriptors. */
  readonly pipes: number;
  /** What each pipe is asked to hold (F_SETPIPE_SZ), up to 1 MiB; it stays as made (64 KiB) where that isn't allowed. */
  readonly pipeBytes: number;
}

/** Bits of `Splicer.flags`, for side 0; those of side 1 are each one bit higher. */
export const SplicerFlag = {
  /** Worth reading from; cleared when nothing more is there. */
  READABLE: 1,
  /** Worth writing to; cleared when no more is taken. */
  WRITABLE: 4,
  /** EPOLLERR was seen: what is left to read is read, then it fails. Cleared if it was no error. */
  BROKEN: 16,
  /** Its end of file was read. */
  ENDED: 64,
  /** It was told the other side's end: shutdown(2), SHUT_WR. */
  SHUT: 256,
  /** EPOLLRDHUP was seen: behind the last bytes is an end of file. */
  ENDING: 1024,
  /** More than a few bytes came from it at a time. */
  BULK: 4096,
  /** Bytes were sent to it: before more are, it gets TCP_NODELAY. */
  WRITTEN: 1 << 14,
} as const;

/** Bits of `Splicer.outcomes`. */
export const SplicerOutcome = {
  /** Its share of this call is used up: call again. */
  MORE: 1,
  /** Bytes wait for a pipe: all are in use, or none can be made. */
  NO_PIPE: 2,
  /** `errors` tells which side, and why. */
  FAILED: 4,
  /** Both ends were read and passed on. */
  DONE: 8,
} as const;

/**
 * Moves bytes between pairs of non-blocking sockets by splice(2), through pipes that are borrowed while bytes are on the
 * way; a few bytes are copied. Arrays with two elements a row have side 0's first.
 */
export interface Splicer {
  /** In: the sockets. */
  readonly descriptors: Int32Array;
  /** Out: the errno that ended the side; 0: none. */
  readonly errors: Int32Array;
  /** Bits of `SplicerFlag`, one element a row. */
  readonly flags: Uint32Array;
  /** In: the rows of a `move`. Out: bits of `SplicerOutcome`, and two elements a row: bytes passed on that came from each side. */
  readonly rows: Int32Array;
  readonly outcomes: Uint32Array;
  readonly bytes: Float64Array;
  /** Out: [0] pipes that are open, [1] those that are borrowed. */
  readonly pool: Int32Array;
  /** Moves what can be moved for the first `count` of `rows`, at most about 512 KiB a direction. SIGPIPE must be ignored, as Node does. DONE: side 1 is still to be closed, which tells it the end. */
  move(count: number): void;
  /** A row ends: its pipes go back (closed, if bytes are in them), its columns are cleared. The caller closes the sockets. */
  release(row: number): void;
  /** In: descriptors of sockets that do not linger; and closes the first `count`. */
  readonly closes: Int32Array;
  close(count: number): void;
  /** Closes pipes that are not borrowed, until at most `keep` of those are left. */
  trim(keep: number): void;
}

/** A user, as credentials(7) has it: user, group and supplementary groups. */
export interface Identity {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

/** landlock(7): what is refused, except where a rule allows it. Bits as in linux/landlock.h, of what the kernel's ABI has. */
export interface LandlockRuleset {
  /** LANDLOCK_ACCESS_FS_*. */
  readonly handledFiles: number;
  /** LANDLOCK_ACCESS_NET_*: refused without exception. */
  readonly handledNetwork: number;
  /** LANDLOCK_SCOPE_*. */
  readonly scoped: number;
  /** Paths that are not there get no rule; what only folders can have is left out for a file. */
  readonly rules: readonly { readonly path: string; readonly access: number }[];
}

export interface Execution {
  readonly file: string;
  /** With the name of the program as the first. */
  readonly arguments: readonly string[];
  /** "NAME=value". */
  readonly environment: readonly string[];
  /** Descriptors that the program gets, by the same numbers, beside 0, 1 and 2. */
  readonly keep: readonly number[];
  /** Absent: as it is. */
  readonly identity?: Identity;
  /** Numbers of those that are kept, if they are there at all (linux/capability.h); all others are given up for good. */
  readonly capabilities: readonly number[];
  readonly landlock?: LandlockRuleset;
}

export interface Addon {
  // --- descriptors -----------------------------------------------------------------------------------------------
  /** Never blocks: a socket that lingers is closed by a thread of its own, as in `Loop.close`. */
  close(fd: number): void;
  /** dup with FD_CLOEXEC; the caller closes the result. */
  duplicate(fd: number): number;
  /** dup2(2): `to` becomes what `from` is, which stays open too. What `to` was is closed. */
  duplicateOnto(from: number, to: number): void;
  /** O_NONBLOCK, for everybody who shares the open file: sockets inherited from systemd may block. */
  setNonBlocking(fd: number, on: boolean): void;

  // --- TCP -------------------------------------------------------------------------------------------------------
  /** socket, options, bind, listen; non-blocking, SO_REUSEADDR. The caller closes the result. */
  listenTcp(options: TcpListenOptions): number;
  /** Where a TCP socket is bound and whether it listens; `v6Only`: IPV6_V6ONLY. Undefined if `fd` is no TCP socket. */
  tcpSocket(fd: number): (TcpAddress & { readonly listening: boolean; readonly v6Only: boolean }) | undefined;
  /** Gives a listener the backlog, deferAccept and keepAlive of `options`; its address stays as it is. */
  adjustListener(fd: number, options: TcpListenOptions): void;
  /**
   * Has the kernel drop every SYN for this listener, for good (SO_ATTACH_FILTER), so that what is left to accept comes
   * to an end; handshakes that have begun are completed. A client that is turned away so tries again after a second.
   * Not for a listener that another process goes on with.
   */
  refuseNewClients(listener: number): void;
  /** An IPv4 address of an IPv6 socket (::ffff:a.b.c.d) is given as IPv4, here and in `peerAddress`. */
  localAddress(fd: number): TcpAddress;
  peerAddress(fd: number): TcpAddress;
  /** SO_RCVLOWAT in bytes: readable only when this many are there. 1 is the default state. */
  setReceiveLowWater(fd: number, bytes: number): void;
  /** Whether a connection may be given to another backend: TCP_INFO bytes_received - SIOCINQ - (1 in CLOSE_WAIT) is `consumed`, and bytes_sent is 0. */
  intact(fd: number, consumed: number): Intact;
  /** Discards what can be read (at most `limit` bytes), sends `bytes` (non-blocking; may be empty) and shuts down writing. Returns true if the client has closed its side already. Errors of a dead connection count as closed. */
  farewell(fd: number, bytes: Uint8Array, limit: number): boolean;
  /** Discards what can be read, at most `limit` bytes. Returns true at end of file or on a dead connection. */
  discard(fd: number, limit: number): boolean;
  /** SO_LINGER on with 0 seconds: the next close sends RST. */
  resetOnClose(fd: number): void;

  // --- unix sockets (paths, or abstract addresses written with a leading "@") --------------------------------------
  /**
   * Binds and listens (SEQPACKET, STREAM) or binds (DGRAM); non-blocking. The path appears with its mode (fchmod before bind),
   * an existing path is EADDRINUSE and is left alone. The caller closes the result and removes the path. Paths may be
   * longer than sun_path's 107 bytes, their last part not longer than about 85.
   */
  listenUnix(path: string, type: UnixSocketType, options: UnixListenOptions): number;
  /** Non-blocking connect. `credentials` sets SO_PASSCRED first; `refuseDescriptors` clears SO_PASSRIGHTS where the kernel has it. The caller closes the result. */
  connectUnix(
    path: string,
    type: UnixSocketType,
    options: { credentials?: boolean; refuseDescriptors?: boolean },
  ): number;
  /** accept4 of a listening unix socket (non-blocking, close-on-exec): a descriptor that the caller closes, or -1 when none waits. */
  acceptUnix(fd: number): number;
  /** A connected pair of unix sockets; the caller closes both. */
  socketPair(type: UnixSocketType): [number, number];
  peerCredentials(fd: number): Credentials;
  /** SO_PASSCRED: whether messages that arrive carry their sender's credentials. While on, each message costs the kernel more both ways. */
  askCredentials(fd: number, on: boolean): void;
  /** Path (abstract ones with "@", "" if unnamed; a path over 107 bytes shows how it was reached: /proc/self/fd/…), type and whether it listens, of a unix socket; undefined if `fd` is none. */
  unixSocket(fd: number): { path: string; type: UnixSocketType; listening: boolean } | undefined;
  /** shutdown(2): 0 SHUT_RD, 1 SHUT_WR, 2 SHUT_RDWR. */
  shutdown(fd: number, how: 0 | 1 | 2): void;
  /** One message, MSG_DONTWAIT | MSG_NOSIGNAL, with the descriptors given. Returns 0 or the positive errno. Any number of descriptors up to 253, so that tests can break the rules. */
  sendMessage(fd: number, bytes: Uint8Array, descriptors?: readonly number[]): number;
  /** Connects a datagram socket again, to whoever is bound to the path now. Returns 0 or the positive errno; then it is connected to whom it was. */
  reconnectUnix(fd: number, path: string): number;
  /**
   * Reads `bytes.length` bytes of the TCP connection `fd` into `bytes`, and sends them beside its descriptor on the
   * connected datagram socket `channel`. Never blocks; both stay the caller's. Returns 0 if it was sent; a negative errno
   * if nothing was read (-EAGAIN: the peer's queue is full; polling `channel` for EPOLLOUT tells when it no longer is); a
   * positive errno if `bytes` were read and not sent: nobody else has them.
   */
  passDatagram(channel: number, fd: number, bytes: Uint8Array): number;
  /** Exclusive advisory lock of the folder at `path` (flock), held until the returned descriptor is closed. Blocks for up to 2 s, then throws EAGAIN. */
  lockFolder(path: string): number;

  // --- libuv -----------------------------------------------------------------------------------------------------
  /** Calls `ready(events)` in a callback scope of its own whenever a selected event is there (readable at first). */
  watch(fd: number, ready: (events: number) => void): Watch;
  /**
   * Reads messages with descriptors whenever there are some: fills `batch` and calls `onBatch(count)`. That returns how
   * many deliveries it wants; for each number below that, `onEach(i)` is called in a callback scope of its own (an
   * exception is the process's uncaught exception and does not stop the next). No ticks or microtasks run between
   * `onBatch` and the first `onEach`.
   *
   * The end of file, or a failure, is reported once, in `batch.end`: with the last messages if it was met in the same
   * read, else by a call with count 0. If `onBatch` throws (the process's uncaught exception), there are no deliveries,
   * and the batch's descriptors are still for JavaScript to close. `close` and `select(0)` inside the callbacks stop
   * the reading, not the deliveries that `onBatch` asked for. `select` takes 0 and 1 only. `stride` (default 1024, at
   * most 65,536, a multiple of 16): bytes reserved for each message; memory that no message has reached costs nothing.
   */
  watchMessages(
    fd: number,
    onBatch: (count: number) => number,
    onEach: (i: number) => void,
    stride?: number,
  ): MessageWatch;

  // --- privileges --------------------------------------------------------------------------------------------------
  /** Landlock's ABI in this kernel, from 1; else a negative errno: -38 ENOSYS (not built in), -95 EOPNOTSUPP (not enabled at boot). */
  landlockAbi(): number;
  /** A user by name and its primary group, getpwnam(3): from wherever nsswitch.conf(5) says, without executing anything. Undefined if there is none. */
  findAccount(user: string): { uid: number; gid: number } | undefined;
  /** getgrouplist(3) of the account of that name, else of that uid; `gid` is among them, and alone if there is no account. */
  accountGroups(user: string, uid: number, gid: number): number[];
  /** Opens paths for reading as somebody else (needs CAP_SETUID and CAP_SETGID) or, with undefined, as this process. An errno name for each; "" where it succeeded. */
  tryReading(identity: Identity | undefined, paths: readonly string[]): string[];
  /**
   * execve(2) in place of this process, after the change of user, capabilities, no_new_privs and Landlock, in this order
   * and all on one thread made for it. Returns only by throwing, and nothing has changed then.
   */
  execute(execution: Execution): never;

  // --- the data plane ----------------------------------------------------------------------------------------------
  createLoop(sizes: LoopSizes): Loop;

  // --- the relay -----------------------------------------------------------------------------------------------------
  createSplicer(sizes: SplicerSizes): Splicer;
  /** The bytes of a sockaddr_in or sockaddr_in6, for `dial`. Numeric; an IPv6 zone as `%name`. */
  socketAddress(address: string, port: number): Uint8Array;
  /**
   * A non-blocking socket that connects. EPOLLOUT tells that it has, EPOLLERR that it cannot.
   * `speaksFirst`: bytes will be sent as soon as it has, and the handshake's last acknowledgement with them. Returns the
   * descriptor, which the caller closes, or the negative errno: that of ECONNREFUSED also where nobody listens and the
   * kernel has chosen the same port for this side, so that it would be connected to itself (RFC 9293 §3.5).
   */
  dial(address: Uint8Array, speaksFirst: boolean): number;
  /** SO_KEEPALIVE. Returns 0 or the errno. */
  keepAlive(fd: number): number;
  /** SO_ERROR: 0 or the errno of what has happened to the connection; reading clears it. */
  pendingError(fd: number): number;
  /** Sends the first `length` bytes of `bytes` on a new connection; `more`: others follow at once (MSG_MORE). Returns 0 or the errno; ENOBUFS if not all were taken. */
  sendFirst(fd: number, bytes: Uint8Array, length: number, more: boolean): number;
  /** Peer and own address of a TCP socket, packed (addresses.ts), to the first 40 bytes of `out`. Returns 0 or the errno. */
  packedAddresses(fd: number, out: Uint8Array): number;
}

/** epoll(7) events. */
export const EPOLLIN = 0x001;
export const EPOLLOUT = 0x004;
export const EPOLLERR = 0x008;
export const EPOLLHUP = 0x010;
export const EPOLLRDHUP = 0x2000;
export const EPOLLEXCLUSIVE = 0x10000000;
export const EPOLLONESHOT = 0x40000000;
export const EPOLLET = 0x80000000;

function load(): Addon {
  const path = builtFile("Release/sni_handoff.node");
  let module: { initialize(errorClass: typeof SystemCallError): Addon };
  try {
    module = createRequire(import.meta.url)(path);
  } catch (cause) {
    throw new HandoffError(
      "ERR_ADDON_MISSING",
      `cannot load the native addon ${path}: ${(cause as Error).message.split("\n")[0]}; build it with "npm rebuild sni-handoff" (in a clone: "npm run build")`,
      { cause },
    );
  }
  return module.initialize(SystemCallError);
}

/** The addon, loaded once a thread. */
export const native: Addon = load();
