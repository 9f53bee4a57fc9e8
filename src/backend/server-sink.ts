/**
 * Gives owned descriptors to a Node server so that it cannot tell them from connections that it accepted by itself.
 *
 * Node offers no public way for this that keeps getConnections(), close(), maxConnections, and http's timeouts working
 * (emitting 'connection' does not). What does is what its own cluster module does in a worker: a listen handle that is
 * no port. The server's own code then makes and counts the sockets.
 */
import { AsyncResource } from "node:async_hooks";
import type { Server, Socket } from "node:net";
import type { Address } from "../addresses.js";
import type { Sink } from "../handoff/sink.js";
import { native } from "../native/addon.js";
import { earlyKey, infoOfEarly, unshiftEarly } from "./early.js";
import { type HandoffInfo, handoffKey, keepInfo, proxyKey, toldClient } from "./info.js";
import { SOCKET, type TcpHandle, TcpWrap } from "./tcp-wrap.js";

/** The parts of Node's server that its public types leave out. */
interface ServerInternals extends Server {
  _handle: ListenHandle | null;
  _connections: number;
  _emitCloseIfDrained(): void;
}

/** A listen handle: of a port, of a cluster worker, or the one made here. */
export interface ListenHandle {
  /** Set by the server: makes the socket and emits 'connection'. */
  onconnection?: (status: number, client: TcpHandle) => void;
}

/** How a server that does not listen yet is made to listen on the handle that is made for it. */
export interface ListenHow {
  /** What `server.address()` answers. */
  readonly address: { readonly address: string; readonly family: string; readonly port: number };
  /** Its 'listening' event follows. */
  listen(handle: ListenHandle): void;
}

/** Called by the server on its listen handle. */
export interface ServerSinkHooks {
  closed(): void;
  ref(): void;
  unref(): void;
}

/** From Node 21 on, maxConnections = 0 means none; before, no limit. */
const ZERO_MEANS_NONE = Number.parseInt(process.versions.node, 10) >= 21;

/**
 * Handles are made in the context of this module's loading: the handle of an accepted connection belongs to no request
 * either, so AsyncLocalStorage gives the same in both.
 */
const outside = new AsyncResource("SNIHANDOFFCONNECTION", { requireManualDestroy: true });

type OwnedHandle = TcpHandle & {
  [handoffKey]?: string | HandoffInfo;
  [proxyKey]?: Address;
  [earlyKey]?: Buffer;
};

export class ServerSink implements Sink {
  private readonly server: ServerInternals;
  private readonly overloaded: (() => boolean) | undefined;
  private handle: ListenHandle;
  /** This sink made the server listen, and closes it, unless somebody else has. */
  private isOwnHandle: boolean = false;
  private onServerClose: (() => void) | undefined;
  /** 'connection' is emitted in the context of `attach`, as with accepted ones in the context of `listen`. */
  private readonly context: AsyncResource = new AsyncResource("SNIHANDOFFSERVER", { requireManualDestroy: true });
  private owned: (OwnedHandle | undefined)[] = [];
  private nextOwned: number = 0;

  /** `overloaded` returns true while no more connections are to be taken. */
  constructor(server: Server, overloaded?: () => boolean) {
    this.overloaded = overloaded;
    this.server = server as ServerInternals;
    this.handle = this.server._handle as ListenHandle;
  }

  /** Makes the server listen, if it does not already. Its 'listening' event follows. */
  start(how: ListenHow, hooks: ServerSinkHooks): void {
    this.server.prependListener("connection", takeIn);
    if (this.server._handle !== null) {
      this.handle = this.server._handle;
      this.server.once("close", hooks.closed);
      this.onServerClose = hooks.closed;
      return;
    }
    this.isOwnHandle = true;
    const closed = () => {
      this.isOwnHandle = false; // `drained` may follow at once, while the server still has the handle.
      hooks.closed();
    };
    this.handle = makeListenHandle(how.address, this.context.asyncId(), { ...hooks, closed });
    how.listen(this.handle);
  }

  open(): number {
    return this.server._connections;
  }

  room(): number {
    if (this.isOverloaded()) return 0;
    const limit: number | undefined = this.server.maxConnections;
    if (limit === undefined || limit === null || (limit === 0 && !ZERO_MEANS_NONE)) return Number.POSITIVE_INFINITY;
    return Math.max(0, limit - this.server._connections);
  }

  private isOverloaded(): boolean {
    try {
      return this.overloaded?.() === true;
    } catch (error) {
      // Not here: messages that were read already would be lost.
      setImmediate(() => {
        throw error;
      });
      return false;
    }
  }

  closed(): boolean {
    return this.server._handle !== this.handle;
  }

  own(descriptor: number, text: string, early?: Buffer): boolean {
    const handle: OwnedHandle = outside.runInAsyncScope(newHandle);
    if (handle.open(descriptor) !== 0) {
      native.close(descriptor);
      return false;
    }
    if (early === undefined) {
      handle[handoffKey] = text;
      const client = toldClient(text);
      if (client !== undefined) setRemote(handle, client);
    } else {
      handle[handoffKey] = infoOfEarly(early);
      handle[earlyKey] = early;
    }
    // Counted from now on, so that a server that is closed before the delivery waits for it.
    this.server._connections++;
    this.owned.push(handle);
    return true;
  }

  deliver(): void {
    const handle = this.owned[this.nextOwned]!;
    this.owned[this.nextOwned++] = undefined;
    if (this.nextOwned === this.owned.length) {
      this.owned = [];
      this.nextOwned = 0;
    }
    // The server counts it again.
    this.server._connections--;
    this.context.runInAsyncScope(this.handle.onconnection!, this.handle, 0, handle);
  }

  drained(): void {
    this.server.removeListener("connection", takeIn);
    if (this.onServerClose !== undefined) this.server.removeListener("close", this.onServerClose);
    if (this.isOwnHandle && !this.closed()) this.server.close();
  }
}

/** A `connection` listener, called before the server's own. */
function takeIn(socket: Socket): void {
  keepInfo(socket);
  unshiftEarly(socket);
}

function newHandle(): OwnedHandle {
  return new TcpWrap(SOCKET);
}

/** The remote address of every socket over this handle is the client that a PROXY header told. */
function setRemote(handle: OwnedHandle, client: Address): void {
  const proxy: Partial<Address> = {};
  // Fails for a connection that is dead already.
  if (handle.getpeername(proxy) === 0) handle[proxyKey] = proxy as Address;
  handle.getpeername = (out) => {
    Object.assign(out, client);
    return 0;
  };
}

/** What a server calls on its listen handle, and nothing behind it. */
function makeListenHandle(address: ListenHow["address"], asyncId: number, hooks: ServerSinkHooks): ListenHandle {
  const methods = {
    fd: -1,
    listen: () => 0,
    close(callback?: () => void): void {
      hooks.closed();
      if (callback !== undefined) setImmediate(callback);
    },
    // server.address() is what this fills in.
    getsockname(out: { address?: string; family?: string; port?: number }): number {
      Object.assign(out, address);
      return 0;
    },
    ref: hooks.ref,
    unref: hooks.unref,
    getAsyncId: () => asyncId,
  };
  // server.listen() takes only what inherits from the TCP handle.
  return Object.create(TcpWrap.prototype, Object.getOwnPropertyDescriptors(methods));
}
