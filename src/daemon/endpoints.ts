/**
 * The two sockets that the door listens on for its operators: the control socket and, if it is wanted, metrics over TCP.
 * They are bound with the listeners, and served once the workers run; a process that takes over inherits them.
 */
import type { Server } from "node:http";
import { HandoffError, type SystemCallError } from "../errors.js";
import type { ClaimedPath } from "../handoff/path.js";
import { native } from "../native/addon.js";
import type { Configuration } from "./configuration/index.js";
import type { Controlled } from "./control/controlled.js";
import { createControlServer } from "./control/server.js";
import { adoptControlSocket, openControlSocket } from "./control/socket.js";
import { formatAddress } from "./listeners.js";
import type { Log } from "./log.js";
import { createMetricsServer } from "./metrics-server.js";

const METRICS_BACKLOG = 128;
/** How long answers that are being given may take at the end. Milliseconds. */
const LAST_ANSWERS = 1000;

/** Listening sockets that this process was given; -1: none. */
export interface PassedEndpoints {
  readonly control: number;
  readonly metrics: number;
  /** The control socket is the service manager's: its path stays. */
  readonly isManaged: boolean;
}

export class Endpoints {
  private readonly control: ClaimedPath | undefined;
  private readonly metrics: number;
  private readonly isManaged: boolean;
  private readonly servers: Server[] = [];

  /** Throws ERR_PATH_IN_USE, which names the daemon that is there, ERR_PATH_UNUSABLE, or ERR_LISTEN. */
  constructor({ control, metrics }: Configuration, passed: PassedEndpoints) {
    this.isManaged = passed.isManaged;
    this.control = openControl(control, passed);
    try {
      this.metrics = openMetrics(metrics, passed.metrics);
    } catch (error) {
      if (this.control !== undefined) native.close(this.control.descriptor);
      // An inherited one is the other process's still.
      if (this.control?.descriptor !== passed.control) this.release();
      throw error;
    }
  }

  /** For a process that takes over. */
  get descriptors(): PassedEndpoints {
    return { control: this.control?.descriptor ?? -1, metrics: this.metrics, isManaged: this.isManaged };
  }

  /** The control socket's path; "" without one. */
  get controlPath(): string {
    return this.control?.path ?? "";
  }

  /** Where metrics are served over TCP: "127.0.0.1:9443"; "" if they aren't. */
  get metricsAddress(): string {
    return this.metrics < 0 ? "" : formatAddress(native.localAddress(this.metrics));
  }

  /** The servers own the descriptors from now on. */
  serve(controlled: Controlled, log: Log): void {
    if (this.control !== undefined) {
      const failed = (error: Error, what: string) =>
        log.error({ event: "control.failed", request: what, stack: error.stack }, `${what}: ${error.message}`);
      const server = createControlServer(controlled, { failed });
      this.servers.push(server.listen({ fd: this.control.descriptor }));
    }
    if (this.metrics >= 0) {
      const failed = (error: Error) => log.error({ event: "metrics.failed", stack: error.stack }, error.message);
      const server = createMetricsServer(() => controlled.metrics(), failed);
      this.servers.push(server.listen({ fd: this.metrics }));
    }
  }

  /** Lets go of the sockets, which another process may have too. Resolves when what was asked is answered. */
  async close(): Promise<void> {
    const closed = this.servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve)));
    const patience = new Promise((resolve) => setTimeout(resolve, LAST_ANSWERS).unref());
    await Promise.race([Promise.all(closed), patience]);
  }

  /** No process has the control socket any more: its path goes. */
  release(): void {
    if (!this.isManaged) this.control?.release();
  }
}

function openControl(settings: Configuration["control"], passed: PassedEndpoints): ClaimedPath | undefined {
  const { control, isManaged } = passed;
  if (control >= 0) {
    const { path } = native.unixSocket(control)!;
    if (isManaged || path === settings?.path) return adoptControlSocket(control, path);
    native.close(control); // the configuration has another one now, or none
  }
  return settings === undefined ? undefined : openControlSocket(settings.path, settings);
}

function openMetrics(settings: Configuration["metrics"], passed: number): number {
  if (passed >= 0) {
    const bound = native.localAddress(passed);
    const isSame = bound.address === settings?.address && (settings.port === 0 || bound.port === settings.port);
    if (isSame) return passed;
    native.close(passed);
  }
  if (settings === undefined) return -1;
  try {
    return native.listenTcp({ ...settings, backlog: METRICS_BACKLOG });
  } catch (error) {
    const { message } = error as SystemCallError;
    throw new HandoffError("ERR_LISTEN", `cannot serve metrics: ${message}; choose another metrics.address`, {
      cause: error,
    });
  }
}
