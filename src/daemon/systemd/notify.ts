/** Tells the service manager what the process is doing: sd_notify(3), one datagram a message. */
import { getSystemErrorName } from "node:util";
import { HandoffError } from "../../errors.js";
import { native } from "../../native/addon.js";

/** Milliseconds until a service manager whose queue is full (net.unix.max_dgram_qlen) is tried again. */
const AGAIN = 20;
/** Most messages that wait for that. */
const MAX_PENDING = 1000;

/**
 * Nothing here throws: a service manager that cannot be reached must not end the door. Each method returns whether the
 * message was given to the kernel, or waits until the service manager's queue has room; `failed` hears of the first
 * failure, and of the first one after a success.
 */
export class Notifier {
  /** NOTIFY_SOCKET: a path, or "@name" in the abstract namespace. */
  readonly address: string;
  private readonly failed: (error: Error) => void;
  private isFailing: boolean = false;
  private readonly pending: Uint8Array[] = [];
  /** Until they are tried again. */
  private waiting: NodeJS.Timeout | undefined;

  private constructor(address: string, failed: (error: Error) => void) {
    this.address = address;
    this.failed = failed;
  }

  /**
   * Undefined if NOTIFY_SOCKET is not set. Removes it from `environment`, so that no child speaks for this process; a
   * successor is given `notifier.environment`.
   */
  static fromEnvironment(
    environment: NodeJS.ProcessEnv = process.env,
    failed: (error: Error) => void = () => {},
  ): Notifier | undefined {
    const address = environment.NOTIFY_SOCKET;
    delete environment.NOTIFY_SOCKET;
    return address ? new Notifier(address, failed) : undefined;
  }

  /** What a process that takes over needs in its environment. */
  get environment(): { NOTIFY_SOCKET: string } {
    return { NOTIFY_SOCKET: this.address };
  }

  /** Start-up, or a reload, is finished. */
  ready(status?: string): boolean {
    return this.send("READY=1", ...statusLine(status));
  }

  /** A reload begins; ends with `ready`. With the time, as Type=notify-reload asks for (systemd 253). */
  reloading(status?: string): boolean {
    // CLOCK_MONOTONIC, as hrtime is.
    return this.send("RELOADING=1", `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`, ...statusLine(status));
  }

  stopping(status?: string): boolean {
    return this.send("STOPPING=1", ...statusLine(status));
  }

  /** One line for `systemctl status`. */
  status(text: string): boolean {
    return this.send(...statusLine(text));
  }

  /** The process is well: see watchdog.ts. */
  watchdog(): boolean {
    return this.send("WATCHDOG=1");
  }

  /** From now on `pid` is the service's main process. With NotifyAccess=main taken only from that: it cannot be taken back. */
  mainPid(pid: number): boolean {
    return this.send(`MAINPID=${pid}`);
  }

  /** Starting, reloading or stopping takes longer than the unit allows: `microseconds` more from now. */
  extendTimeout(microseconds: number): boolean {
    return this.send(`EXTEND_TIMEOUT_USEC=${Math.ceil(microseconds)}`);
  }

  private send(...lines: string[]): boolean {
    this.pending.push(Buffer.from(`${lines.join("\n")}\n`));
    // Those before it wait already.
    if (this.pending.length > 1 && this.pending.length <= MAX_PENDING) return true;
    return this.sendPending();
  }

  private sendPending(): boolean {
    let failure: Error | undefined;
    try {
      while (this.pending.length > 0) {
        const errno = sendDatagram(this.address, this.pending[0]!);
        if (errno === "EAGAIN" && this.pending.length <= MAX_PENDING) {
          this.waiting ??= setTimeout(() => {
            this.waiting = undefined;
            this.sendPending();
          }, AGAIN).unref();
          return true;
        }
        if (errno !== undefined) throw new Error(`sendmsg: ${errno}`);
        this.pending.shift();
      }
    } catch (error) {
      failure = error as Error;
      this.pending.length = 0;
    }
    if (failure !== undefined && !this.isFailing) {
      this.failed(
        new Error(`cannot notify the service manager at ${this.address} (NOTIFY_SOCKET): ${failure.message}`, {
          cause: failure,
        }),
      );
    }
    this.isFailing = failure !== undefined;
    return failure === undefined;
  }
}

/** A status is one line: what is behind a line break would be a variable of its own. */
function statusLine(text: string | undefined): string[] {
  return text === undefined ? [] : [`STATUS=${text.replaceAll(/\s*[\r\n]+\s*/g, " ")}`];
}

/** A message on its way: the errno's name, if it could not be sent. Throws if there is nobody. */
function sendDatagram(address: string, message: Uint8Array): string | undefined {
  if (!/^[/@]/.test(address)) throw new HandoffError("ERR_OPTION", 'a path or "@name" is needed');
  // Connected anew for each: a service manager that was restarted has another socket.
  const socket = native.connectUnix(address, "dgram", {});
  try {
    const errno = native.sendMessage(socket, message);
    return errno === 0 ? undefined : getSystemErrorName(-errno);
  } finally {
    native.close(socket);
  }
}
