/**
 * The relay's control sockets: `.control.sock` in its folder, by which doors and the next relay find it, and one more if
 * it is configured. The newest relay has the paths: one that drains is asked nothing any more.
 */
import { renameSync } from "node:fs";
import type { Server } from "node:http";
import { dirname, join } from "node:path";
import { HandoffError } from "../../errors.js";
import { adoptPath, type ClaimedPath } from "../../handoff/path.js";
import type { ControlledRelay } from "../control/controlled.js";
import { createRelayControlServer } from "../control/server.js";
import { openControlSocket } from "../control/socket.js";
import { inTime } from "../in-time.js";
import type { Log } from "../log.js";

/** How long answers that are being given may take at the end. Milliseconds. */
const LAST_ANSWERS = 1000;

export class RelayControl {
  readonly path: string;
  /** Another relay has the path as yet: this is where its socket waits to be moved there. */
  private waitingAt: string | undefined;
  private claimed: ClaimedPath;
  private readonly servers: Server[] = [];
  private second: { readonly claimed: ClaimedPath; readonly server: Server } | undefined;

  /** Throws ERR_PATH_UNUSABLE; or, without `besides`, ERR_PATH_IN_USE if another relay is there. */
  constructor(path: string, besides: boolean) {
    this.path = path;
    try {
      this.claimed = openControlSocket(path);
    } catch (error) {
      if (!besides || !(error instanceof HandoffError) || error.code !== "ERR_PATH_IN_USE") throw error;
      this.waitingAt = join(dirname(path), `.control-${process.pid}.sock`);
      this.claimed = openControlSocket(this.waitingAt);
    }
  }

  /** Whether another relay was there when this one came. */
  get isSecond(): boolean {
    return this.waitingAt !== undefined;
  }

  serve(relay: ControlledRelay, log: Log): void {
    this.servers.push(this.listen(this.claimed, relay, log));
  }

  /** From now on this relay is the one that is found. */
  takePath(): void {
    if (this.waitingAt === undefined) return;
    renameSync(this.waitingAt, this.path);
    this.claimed = adoptPath(this.claimed.descriptor, this.path);
    this.waitingAt = undefined;
  }

  /** The second socket; undefined: none. Throws ERR_PATH_UNUSABLE or ERR_PATH_IN_USE, and the one before stays. */
  serveAlso(path: string | undefined, relay: ControlledRelay, log: Log): void {
    const { second } = this;
    if (path === second?.claimed.path) return;
    const claimed = path === undefined ? undefined : openControlSocket(path);
    second?.claimed.release();
    second?.server.close();
    this.second = claimed && { claimed, server: this.listen(claimed, relay, log) };
  }

  private listen({ descriptor }: ClaimedPath, relay: ControlledRelay, log: Log): Server {
    const failed = (error: Error, what: string) =>
      log.error({ event: "control.failed", request: what, stack: error.stack }, `${what}: ${error.message}`);
    return createRelayControlServer(relay, { failed }).listen({ fd: descriptor });
  }

  /** Nobody finds this relay any more. What was asked is still answered. */
  release(): void {
    this.claimed.release();
    this.second?.claimed.release();
  }

  async close(): Promise<void> {
    const { second } = this;
    const servers = [...this.servers, ...(second === undefined ? [] : [second.server])];
    const closed = servers.map((server) => new Promise((resolve) => server.close(resolve)));
    await inTime(Promise.all(closed), LAST_ANSWERS);
  }
}
