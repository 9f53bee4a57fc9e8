/**
 * The life of a connection in one worker:
 *
 *   accept -> examine --partial--> wait -> examine … (of a load balancer's, a PROXY header first: decideProxied)
 *                |--malformed, no route, reject--> refuse -> parting -> closed
 *                v
 *              place --an instance takes it--> outbox -> outstanding --ACK--> closed (the instance has it)
 *                |  ^                                        |--REFUSE, dead or revoked instance--+
 *                |  +----------------------------------------+------------------------------------+
 *                +--none does--> held --an instance opens--> examine …
 *                                  |--hold ends--> the backend's fallback, or refuse
 *
 * The hello stays unread in the socket, so a connection that must be placed again is simply examined again: it follows
 * the routes that are in force then, and nothing of the hello need be kept. `close` is the only place that closes a
 * client's descriptor.
 */
import { constants } from "node:os";
import { ADDRESS_BYTES, readAddress, writeAddress } from "../addresses.js";
import type { SystemCallError } from "../errors.js";
import { Flag } from "../handoff/layout.js";
import type { HandoffFacts } from "../handoff/message.js";
import type { AnswerName } from "../http/answers.js";
import { HeadStatus } from "../http/outcome.js";
import { EPOLLERR, EPOLLHUP, EPOLLRDHUP, Intact, type Loop, native } from "../native/addon.js";
import { LONGEST_HEADER } from "../proxy-protocol/layout.js";
import { HeaderStatus } from "../proxy-protocol/outcome.js";
import { FIRST_RULES_TARGET, RouteTable } from "../routing/table.js";
import { type AlertName, alertRecord } from "../tls/alerts.js";
import { ClientHelloReader } from "../tls/client-hello.js";
import { alertFor, Status } from "../tls/outcome.js";
import { explainHeader, type HeaderReason, Outcome, Reason } from "./access-events.js";
import { AccessRecorder } from "./access-recorder.js";
import { containsAddress } from "./address-blocks.js";
import { BACKEND_COUNTERS, BackendCounter } from "./backend-counters.js";
import { Backend } from "./backends.js";
import { choose, mayTake } from "./balance.js";
import type { Channel } from "./channel.js";
import { Channels } from "./channels.js";
import { Connections, Mark, NOBODY, SlotList, State } from "./connections.js";
import { Counter, type CounterName } from "./counters.js";
import { Datagrams, Passed } from "./datagrams.js";
import { FirstBytes, NO_RULE, UNDECIDED } from "./first-bytes.js";
import { Gathering, PAUSE } from "./gathering.js";
import { Gauge } from "./gauges.js";
import { Hold } from "./hold.js";
import { HttpIntake, REDIRECTED } from "./http-intake.js";
import { countLatency } from "./latency.js";
import { Limits } from "./limits.js";
import { OUTBOX_BYTES, OUTBOX_CAPACITY, Outbox } from "./outbox.js";
import { Parting } from "./parting.js";
import { connectionTag, LISTENER_EVENTS, listenerTag, PollKind, WAITING_EVENTS } from "./poll-tags.js";
import { ProxyIntake } from "./proxy-intake.js";
import { Report } from "./report.js";
import { RuleMatcher } from "./rule-matcher.js";
import {
  type Adopted,
  type DatagramBackendSettings,
  type DoorSettings,
  type HandoffBackendSettings,
  type HoldingBackendSettings,
  MOST_HELLO,
  type Reconfiguration,
  type SilentSettings,
  type WorkerData,
  type WorkerReport,
} from "./settings.js";
import { successorSettings } from "./successor.js";

/** Connections that one accept call, or one round of peeks, handles. */
const BATCH = 64;
const EVENTS = 256;
const CACHE_LINE = 64;
/** How long a listener rests when descriptors or memory are short; its clients wait in the backlog. Milliseconds. */
const LISTENER_REST = 100;
/**
 * How long acknowledgements may wait for something else to do, while there is traffic. Milliseconds. A turn for
 * acknowledgements alone would cost a waking for nearly every handoff; what is late is only the closing of kept copies.
 */
const PATIENCE = 1;
/** Held connections that a turn passes over, since all that have room have refused them: instances can make them many. */
const MOST_PASSED_OVER = 1024;
/** What `peekLengths` says of a client that has sent nothing yet. */
const NOTHING_YET = -constants.errno.EAGAIN;
const NOTHING = new Uint8Array(0);
const NO_ADDRESS = new Uint8Array(ADDRESS_BYTES);
// Not a multiple of the page: the first lines of all hellos would share one set of the first-level cache.
const PEEK_BYTES = MOST_HELLO + 13 * CACHE_LINE;

// What each connection needs, as constants of this file: see routing/hash.ts for what imports cost.
const ADDRESS = ADDRESS_BYTES;
const ROW = BACKEND_COUNTERS;
const HANDED_OVER = BackendCounter.handed_over;
const ACKNOWLEDGED = BackendCounter.acknowledged;
const NO_REASON = Reason[""];
const FIRST_RULES = FIRST_RULES_TARGET;
const { LISTED, HTTP, HEADER_EXPECTED, HEADER_BEGUN, READ, SILENT, PLAIN } = Mark;
/** Of connections that begin with something else than a hello, or did when they were looked at last. */
const NO_HELLO_FIRST = HTTP | HEADER_EXPECTED | PLAIN;

export class Door {
  readonly loop: Loop;
  private readonly connections: Connections;
  private readonly counters: Uint32Array;
  private readonly gauges: Float64Array;
  private readonly startedAt: number;
  /** Of the backends of the configuration in force, as its indices are. */
  private backendCounters: Uint32Array;
  private latencies: Float64Array;
  private readonly recorder: AccessRecorder;
  private readonly limits: Limits;
  private readonly report: Report;
  private readonly post: (report: WorkerReport) => void;
  private readonly channels: Channels;
  private readonly datagrams: Datagrams;
  private readonly outbox: Outbox;
  private readonly parting: Parting;
  private readonly hold: Hold;
  /** By their deadlines. */
  private readonly waiting: SlotList;
  /** Those that wait and have sent nothing, if that is to lead them somewhere: by their times of arrival. */
  private readonly silent: SlotList;
  /** Connections to be examined (again) in this turn: each at most once. */
  private readonly again: Int32Array;
  private againCount: number = 0;
  private listeners: readonly number[] = [];
  private listenerReady: Uint8Array = new Uint8Array(0);
  /** For each listener the marks of its connections. */
  private listenerMarks: Uint8Array = new Uint8Array(0);
  /** False in a process that waits for its predecessor's word, and once there is a successor. */
  private accepting: boolean;
  private readonly unacknowledgedLimit: number;
  /** Handoffs queued or sent, and not acknowledged, all channels together. */
  private unacknowledged: number = 0;
  /** In this turn something was sent or acknowledged: the next acknowledgements can wait for other events. */
  private isBusy: boolean = false;
  private readonly gathering: Gathering = new Gathering(BATCH);
  /** Connections are held because that is at its limit. */
  private limited: boolean = false;
  /** Held connections that this turn has passed over. */
  private passedOver: number = 0;

  private settings: DoorSettings;
  private routes: RouteTable;
  private rules: RuleMatcher;
  private reader: ClientHelloReader;
  /** For what is not TLS; undefined: all goes to the route table's target for it. */
  private firstBytes: FirstBytes | undefined;
  /** What comes from load balancers. */
  private readonly proxies: ProxyIntake;
  /** What comes by http listeners. */
  private readonly http: HttpIntake;
  private backends: readonly Backend[] = [];
  /** In an upgrade: the process that takes over, as one more backend. */
  private successor: Backend | undefined;

  private listenersRestUntil: number = 0;
  private restSaid: boolean = false;
  private drainDeadline: number = 0;
  private drained: boolean = false;
  private heldDueAt: number = Number.POSITIVE_INFINITY;
  private partingDueAt: number = Number.POSITIVE_INFINITY;
  private leastAcknowledgeTimeout: number = Number.POSITIVE_INFINITY;
  /** Where the bytes of the connection that is examined are in the peek buffer, and how many. */
  private peekedAt: number = 0;
  private peekedLength: number = 0;
  /** The held connection whose turn it is. */
  private served: number = NOBODY;
  /** Slots of the connections in the last peek. */
  private readonly peeked: Int32Array = new Int32Array(BATCH);
  /** Descriptors in the loop's batch of closes. */
  private closing: number = 0;
  private nextIdLow: number;
  private readonly idHigh: number;

  /** Filled for each handoff and encoded at once. */
  private readonly facts: HandoffFacts = {
    sequence: 0,
    connectionIdLow: 0,
    connectionIdHigh: 0,
    acceptedAtLow: 0,
    acceptedAtHigh: 0,
    flags: 0,
    helloDeadlineLow: 0,
    helloDeadlineHigh: 0,
    name: NOTHING,
    nameStart: 0,
    nameLength: 0,
    alpn: NOTHING,
    alpnStart: 0,
    alpnLength: 0,
    consumed: 0,
    client: NO_ADDRESS,
    clientStart: 0,
    server: NO_ADDRESS,
    serverStart: 0,
  };

  constructor(data: WorkerData, post: (report: WorkerReport) => void) {
    this.post = post;
    this.report = new Report(post);
    this.accepting = data.accepting;
    this.counters = new Uint32Array(data.memory.counters);
    this.gauges = new Float64Array(data.memory.gauges);
    this.backendCounters = new Uint32Array(data.backendMemory.counters);
    this.latencies = new Float64Array(data.backendMemory.latencies);
    this.unacknowledgedLimit = data.unacknowledgedLimit;
    this.settings = data.settings;
    this.loop = native.createLoop({
      events: EVENTS,
      peeks: BATCH,
      peekBytes: PEEK_BYTES,
      sends: OUTBOX_CAPACITY,
      sendBytes: OUTBOX_BYTES,
      closes: BATCH,
    });
    this.startedAt = this.loop.clock[0]!;
    // So that ids differ between workers and between runs of the door.
    this.idHigh = ((Math.floor(Math.random() * 0x1000000) << 8) | (data.index & 0xff)) >>> 0;
    this.nextIdLow = 0;
    this.connections = new Connections(data.capacity);
    this.recorder = new AccessRecorder(data.memory.accessRing, this.loop, this.connections);
    this.limits = new Limits(data.sketch, this.connections, this.report, data.settings.limits);
    this.waiting = new SlotList(this.connections);
    this.silent = new SlotList(this.connections);
    // While one round is examined, all of it may be listed for the next one.
    this.again = new Int32Array(2 * data.capacity);
    this.outbox = new Outbox(this.loop, this.connections);
    this.parting = new Parting(this.loop, this.connections, (slot) => this.close(slot));
    this.hold = new Hold(this.loop, this.connections, this.limits, data.held, data.settings.backends);
    this.channels = new Channels(
      this.loop,
      this.connections,
      this.counters,
      this.report,
      {
        owned: (slot) => this.owned(slot),
        refused: (slot) => {
          this.countAt(slot, BackendCounter.refused_by_instance);
          this.comesBack(slot);
        },
        takenBack: (slot) => this.comesBack(slot),
        revoked: (slot) => this.countAt(slot, BackendCounter.revoked),
        opened: (backend) => this.opened(backend),
        flush: () => this.flush(),
      },
      data.index === 0,
    );
    this.datagrams = new Datagrams(this.loop, this.connections, this.report, data.index === 0);
    this.routes = new RouteTable(data.routes);
    this.rules = new RuleMatcher(data.settings.rules);
    this.reader = this.readerFor(data.settings);
    this.firstBytes = data.settings.notTls && new FirstBytes(data.settings.notTls);
    this.proxies = new ProxyIntake(this.loop, this.connections);
    this.http = new HttpIntake(this.loop, data.capacity, data.settings);
    this.recorder.configure(data.settings);
    this.useBackends(data.settings, data.instances);
    this.useListeners(data.listeners);
  }

  // --- from the control plane ------------------------------------------------------------------------------------

  /** A new configuration, between two turns. What is held is examined again by the new routes. */
  configure({ settings, routes, held, instances, backendMemory, listeners }: Reconfiguration): void {
    this.examineAllAgain();
    this.connections.diverted.fill(NOBODY);
    this.hold.configure(held, settings.backends);
    this.renumberBackends(settings);
    this.backendCounters = new Uint32Array(backendMemory.counters);
    this.latencies = new Float64Array(backendMemory.latencies);
    this.limits.configure(settings.limits);
    this.recorder.configure(settings);
    this.settings = settings;
    this.routes = new RouteTable(routes);
    this.rules = new RuleMatcher(settings.rules, this.rules);
    this.reader = this.readerFor(settings);
    this.http.configure(settings);
    this.firstBytes = settings.notTls && new FirstBytes(settings.notTls);
    // Silence may lead them elsewhere now, or nowhere.
    while (this.silent.count > 0) this.peekAgain(this.silent.head);
    this.useBackends(settings, instances);
    this.useListeners(listeners);
    this.post({ type: "configured", generation: settings.generation });
  }

  /** Begins to accept, or does so again after a successor failed (`configure` follows then: all channels may be closed). */
  accept(): void {
    this.examineAllAgain();
    this.successor = undefined;
    this.drainDeadline = 0;
    this.drained = false;
    this.accepting = true;
    this.useListeners(this.listeners);
  }

  /**
   * Upgrade: accepts no more (the listening sockets are the successor's too, with what waits in their backlogs) and
   * gives everything that waits or is held to the process behind `descriptor`, the door's end of a channel, which is
   * owned here from now on.
   */
  passOn(descriptor: number): void {
    this.accepting = false;
    this.useListeners(this.listeners);
    this.examineAllAgain();
    const configured = this.backends.filter(({ settings }) => settings !== successorSettings);
    const successor = new Backend(configured.length, successorSettings, this.connections);
    this.backends = [...configured, successor];
    this.successor = successor;
    this.channels.take(successor, descriptor);
    for (const { head } of [this.waiting, this.silent]) {
      for (let slot = head; slot !== NOBODY; slot = this.connections.next[slot]!) this.examineAgain(slot);
    }
  }

  /** Upgrade: a connection of the predecessor's, whose hello may be incomplete until `deadline` (CLOCK_REALTIME, milliseconds; 0: none was set). The descriptor is owned here. */
  adopt(connection: Adopted): void {
    const { connections, loop } = this;
    if (connections.room === 0) {
      // More than this process may have: as on a full table, but there is no backlog that it could wait in.
      this.counters[Counter.abandoned]!++;
      const farewell = connection.isHttp ? this.http.answerTo("internal_error") : alertRecord("internal_error");
      try {
        native.farewell(connection.descriptor, farewell, MOST_HELLO);
      } catch {
        // Then without a word.
      }
      native.close(connection.descriptor);
      return;
    }
    this.counters[Counter.adopted]!++;
    const now = loop.clock[0]!;
    const slot = connections.take(connection.descriptor);
    if (connection.isHttp) this.beginMarked(slot, HTTP);
    try {
      writeAddress(native.peerAddress(connection.descriptor), connections.address, slot * ADDRESS_BYTES);
    } catch {
      // ENOTCONN: the client is gone, as the peek will tell.
    }
    this.proxies.adopt(slot, connection);
    connections.idLow[slot] = connection.idLow;
    connections.idHigh[slot] = connection.idHigh;
    connections.acceptedAtLow[slot] = connection.acceptedAtLow;
    connections.acceptedAtHigh[slot] = connection.acceptedAtHigh;
    const acceptedAt = (connection.acceptedAtHigh * 2 ** 32 + connection.acceptedAtLow) / 1e6;
    connections.acceptedAt[slot] = now - Math.max(0, loop.clock[1]! - acceptedAt);
    const left = connection.deadline === 0 ? this.settings.helloTimeout : connection.deadline - Date.now();
    connections.deadline[slot] = now + Math.max(0, Math.min(left, this.settings.helloTimeout));
    this.examineAgain(slot);
  }

  /** Repeats `beat` where the control plane sees it. */
  ping(beat: number): void {
    this.gauges[Gauge.heartbeat] = beat;
  }

  /** What connections that are outstanding now come to will be counted for the backend of the same name, if there is one. */
  private renumberBackends(settings: DoorSettings): void {
    const indices = new Map(settings.backends.map(({ name }, index) => [name, index]));
    const renumbered = Int32Array.from(this.backends, (backend) => indices.get(backend.settings.name) ?? NOBODY);
    const { backend, capacity, state } = this.connections;
    for (let slot = 0; slot < capacity; slot++) {
      if (state[slot] !== State.FREE && backend[slot] !== NOBODY) backend[slot] = renumbered[backend[slot]!]!;
    }
  }

  private readerFor(settings: DoorSettings): ClientHelloReader {
    const maxLength = Math.min(settings.helloLimit, MOST_HELLO);
    // A hello may be shorter than the header before it.
    this.loop.flags[2] = Math.max(maxLength, LONGEST_HEADER);
    return new ClientHelloReader({ maxLength });
  }

  /** The sockets that a backend's folder has now. */
  instances(backend: number, paths: readonly string[]): void {
    this.channels.instances(backend, paths);
    // Connections of instances that are gone no longer count for `maxConnections`.
    this.opened(backend);
  }

  /** A socket appeared at a path. */
  appeared(path: string): void {
    this.channels.appeared(path);
    this.datagrams.appeared(path);
  }

  /** What the operator has drained, in place of what was before: "backend", or "backend path" for one instance. */
  setDrained(targets: readonly string[]): void {
    this.channels.setDrained(targets);
    this.datagrams.setDrained(targets);
    for (const backend of this.backends) {
      // To the fallback, or to instances that take connections again.
      if (this.isDiverting(backend)) while (backend.held.count > 0) this.examineAgain(backend.held.head);
      else this.opened(backend.index);
    }
  }

  snapshot(id: number): void {
    this.post({ type: "snapshot", id, channels: [...this.channels.snapshot(), ...this.datagrams.snapshot()] });
  }

  /** Accepts what the backlog has, then nothing more; reports "drained" when no connection is left, or after `timeout` milliseconds. */
  drain(timeout: number): void {
    if (this.drainDeadline !== 0) return;
    this.drainDeadline = this.loop.clock[0]! + timeout;
    if (this.accepting) {
      this.accepting = false;
      for (let i = 0; i < this.listeners.length; i++) this.emptyBacklog(i);
    }
    this.flush();
    this.post({ type: "stopped" });
  }

  /** What this process accepts from; listeners that are gone from the list are emptied once more, the caller closes them. */
  private useListeners(listeners: readonly number[]): void {
    for (const [index, listener] of this.listeners.entries()) {
      if (this.accepting && !listeners.includes(listener)) this.emptyBacklog(index);
      else this.unwatch(listener);
    }
    if (listeners !== this.listeners) this.renumberListeners(listeners);
    this.listeners = listeners;
    this.listenerReady = new Uint8Array(listeners.length);
    // Not before: what came by those that are gone was of the settings before.
    this.proxies.configure(this.settings.listeners);
    const { listeners: settings } = this.settings;
    this.listenerMarks = Uint8Array.from(listeners, (_, i) => (settings?.[i]?.protocol === "http" ? HTTP : 0));
    this.listenersRestUntil = 0;
    if (this.accepting) this.watchListeners();
  }

  private renumberListeners(listeners: readonly number[]): void {
    const renumbered = Int16Array.from(this.listeners, (descriptor) => listeners.indexOf(descriptor));
    const { capacity, listener, state } = this.connections;
    for (let slot = 0; slot < capacity; slot++) {
      if (state[slot] !== State.FREE && listener[slot] !== NOBODY) listener[slot] = renumbered[listener[slot]!]!;
    }
  }

  private emptyBacklog(index: number): void {
    this.unwatch(this.listeners[index]!);
    this.listenerReady[index] = 0;
    while (this.acceptFrom(index) === BATCH);
    this.flush();
    this.flushCloses();
  }

  private examineAllAgain(): void {
    for (const backend of this.backends) {
      while (backend.held.count > 0) this.examineAgain(backend.held.head);
    }
  }

  private useBackends(settings: DoorSettings, instances: readonly (readonly string[])[]): void {
    this.backends = settings.backends.map((each, index) => new Backend(index, each, this.connections));
    this.leastAcknowledgeTimeout = Math.min(
      ...settings.backends.map((each) =>
        each.kind === "handoff" ? each.acknowledgeTimeout : Number.POSITIVE_INFINITY,
      ),
    );
    this.channels.configure(this.backends, instances);
    this.datagrams.configure(this.backends);
  }

  // --- one turn --------------------------------------------------------------------------------------------------

  /** Turns until libuv wants one of its own. Called by the loop's `run`. */
  turns(): void {
    const { loop } = this;
    do {
      this.writeGauges();
      const count = loop.wait(this.timeout(), this.isBusy ? PATIENCE : 0);
      this.isBusy = false;
      this.passedOver = 0;
      this.dispatch(count);
      this.examineAll();
      if (this.datagrams.isDue) this.datagrams.serve(this.serveHeld);
      let accepted = 0;
      for (let i = 0; i < this.listenerReady.length; i++) {
        if (this.listenerReady[i] === 1) {
          this.listenerReady[i] = 0;
          accepted += this.acceptFrom(i);
        }
      }
      this.flush();
      this.tick();
      if (this.limited && this.unacknowledged < this.unacknowledgedLimit) {
        this.limited = false;
        for (const backend of this.backends) this.opened(backend.index);
      }
      this.flushCloses();
      if (this.drainDeadline !== 0) this.checkDrained();
      if (this.unacknowledged === 0) this.isBusy = false;
      const mayPause = this.againCount === 0 && loop.flags[0] === 0;
      if (this.gathering.after(accepted, loop.clock[0]!) && mayPause) loop.pause(PAUSE);
    } while (loop.flags[0] === 0);
  }

  private writeGauges(): void {
    const { gauges } = this;
    const { clock } = this.loop;
    gauges[Gauge.connections] = this.connections.count;
    gauges[Gauge.waiting] = this.waiting.count + this.silent.count;
    gauges[Gauge.held] = this.hold.count;
    gauges[Gauge.unacknowledged] = this.unacknowledged;
    gauges[Gauge.parting] = this.parting.count;
    gauges[Gauge.busy_milliseconds] = clock[0]! - this.startedAt - clock[2]!;
  }

  /** How long there is nothing to do unless something happens: milliseconds, -1 for ever. */
  private timeout(): number {
    if (
      this.againCount > 0 ||
      this.datagrams.isDue ||
      (this.drainDeadline > 0 && !this.drained && this.connections.count === 0)
    )
      return 0;
    const due = Math.min(
      this.channels.dueAt,
      this.datagrams.dueAt,
      this.heldDueAt,
      this.partingDueAt,
      this.waiting.count > 0 ? this.connections.deadline[this.waiting.head]! : Number.POSITIVE_INFINITY,
      this.silent.count > 0 ? this.silenceEndsAt(this.silent.head) : Number.POSITIVE_INFINITY,
      // Without room they rest until a connection ends, which is an event.
      this.listenersRestUntil > 0 && this.connections.room > 0 ? this.listenersRestUntil : Number.POSITIVE_INFINITY,
      this.drainDeadline > 0 && !this.drained ? this.drainDeadline : Number.POSITIVE_INFINITY,
    );
    return due === Number.POSITIVE_INFINITY ? -1 : Math.max(0, due - this.loop.clock[0]!);
  }

  private dispatch(count: number): void {
    const { events } = this.loop;
    for (let i = 0; i < count; i++) {
      const happened = events[3 * i]!;
      const tag = events[3 * i + 1]!;
      const index = events[3 * i + 2]!;
      switch (tag & 0xff) {
        case PollKind.LISTENER:
          this.listenerReady[index] = 1;
          break;
        case PollKind.CHANNEL:
          this.isBusy = true;
          this.channels.ready(index, tag >>> 8, happened);
          break;
        case PollKind.DATAGRAM:
          this.datagrams.ready(index, tag >>> 8);
          break;
        case PollKind.CONNECTION:
          if ((this.connections.generation[index]! & 0xffffff) !== tag >>> 8) break;
          try {
            this.connectionReady(index, happened);
          } catch (error) {
            this.defect(index, error as Error);
          }
          break;
      }
    }
  }

  private connectionReady(slot: number, events: number): void {
    const { connections } = this;
    switch (connections.state[slot]) {
      case State.WAITING:
        // It keeps its place in the list of waiting ones: trickling bytes must not move a deadline.
        if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0) connections.marks[slot]! |= Mark.ENDED;
        this.examineAgain(slot);
        break;
      case State.HELD:
        this.hold.end(slot, this.backends[connections.backend[slot]!]!);
        this.clientGone(slot);
        break;
      case State.PARTING:
        this.parting.ready(slot);
        this.partingDueAt = this.parting.tick(this.loop.clock[0]!);
        break;
    }
  }

  /** What is due by time. */
  private tick(): void {
    const now = this.loop.clock[0]!;
    const { connections } = this;
    while (this.waiting.count > 0 && connections.deadline[this.waiting.head]! <= now) {
      const slot = this.waiting.head;
      this.stopWaiting(slot);
      if ((connections.marks[slot]! & HEADER_BEGUN) !== 0) {
        this.refuseHeader(slot, "proxy_torn", Outcome.timeout);
        continue;
      }
      this.counters[Counter.hello_timeout]!++;
      this.recorder.record(slot, Outcome.timeout, Reason.hello_timeout);
      // Browsers open connections that they may not need: one without a request is not answered.
      const isRequest = this.isHttp(slot) && this.http.hasBegun(slot);
      this.part(slot, isRequest ? this.http.answer("request_timeout") : NOTHING);
    }
    while (this.silent.count > 0 && this.silenceEndsAt(this.silent.head) <= now) this.peekAgain(this.silent.head);
    if (this.partingDueAt <= now) this.partingDueAt = this.parting.tick(now);
    if (this.heldDueAt <= now) this.tickHeld(now);
    if (this.channels.dueAt <= now) this.channels.tick();
    if (this.datagrams.dueAt <= now) this.datagrams.tick();
    if (this.listenersRestUntil > 0 && this.listenersRestUntil <= now && this.connections.room > 0) {
      this.listenersRestUntil = 0;
      if (this.accepting) this.watchListeners();
    }
  }

  // --- accept ----------------------------------------------------------------------------------------------------

  private watchListeners(): void {
    try {
      for (const [index, listener] of this.listeners.entries()) {
        this.loop.add(listener, LISTENER_EVENTS, listenerTag, index);
      }
    } catch (error) {
      this.restListeners((error as SystemCallError).errno); // ENOMEM, ENOSPC (max_user_watches): epoll_ctl(2)
    }
  }

  /** Accepts a batch and examines each. Returns how many those were. */
  private acceptFrom(index: number): number {
    const { loop, connections } = this;
    const room = Math.min(BATCH, connections.room);
    const count = room === 0 ? 0 : loop.accept(this.listeners[index]!, room);
    this.counters[Counter.accepted]! += count;
    const deadline = loop.clock[0]! + this.settings.helloTimeout;
    const { ratesApply } = this.limits;
    const { address } = connections;
    const balancers = this.proxies.of(index);
    const marks = this.listenerMarks[index]!;
    for (let i = 0; i < count; i++) {
      const slot = connections.take(loop.peekDescriptors[i]!);
      connections.idLow[slot] = this.nextIdLow++;
      connections.idHigh[slot] = this.idHigh;
      connections.acceptedAtLow[slot] = loop.clockWords[0]!;
      connections.acceptedAtHigh[slot] = loop.clockWords[1]!;
      connections.acceptedAt[slot] = loop.clock[0]!;
      connections.deadline[slot] = deadline;
      connections.listener[slot] = index;
      if (marks !== 0) this.beginMarked(slot, marks);
      const packed = slot * ADDRESS;
      for (let byte = 0; byte < ADDRESS; byte++) address[packed + byte] = loop.peekAddresses[i * ADDRESS + byte]!;
      if (balancers !== undefined && containsAddress(balancers, address, packed)) {
        // Whose client it is that may be limited, the header tells.
        connections.marks[slot]! |= HEADER_EXPECTED;
        this.examine(slot, i);
      } else if (ratesApply && !this.limits.admit(slot, loop.clock[0]!)) this.turnAway(slot, "rate_limited", "reset");
      else this.examine(slot, i);
    }
    const error = room === 0 ? constants.errno.EMFILE : loop.flags[1]!;
    if (error === constants.errno.EAGAIN) this.restSaid = false;
    else if (error !== 0) this.restListeners(error);
    return count;
  }

  /** A connection of a listener that is not for TLS. */
  private beginMarked(slot: number, marks: number): void {
    this.connections.marks[slot]! |= marks;
    this.http.begin(slot);
  }

  /** Descriptors or memory are short: clients stay in the backlog until there are some. */
  private restListeners(errno: number): void {
    const now = this.loop.clock[0]!;
    for (const listener of this.listeners) this.unwatch(listener);
    this.listenersRestUntil = now + LISTENER_REST;
    this.counters[Counter.accept_rested]!++;
    if (this.restSaid) return;
    this.restSaid = true;
    this.report.line(now, "error", "accept.rested", "cannot accept now; clients wait in the backlog", {
      errno,
      connections: this.connections.count,
      capacity: this.connections.capacity,
    });
  }

  /** Over a limit: ends it at once, without a word that would cost something. */
  private turnAway(slot: number, counter: CounterName & keyof typeof Reason, how: "close" | "reset"): void {
    this.counters[Counter[counter]]!++;
    this.recorder.record(slot, Outcome.refused, Reason[counter]);
    // A reset leaves nothing of a flood in the kernel.
    if (how === "reset") this.resetOnClose(slot);
    this.close(slot);
  }

  // --- examine ---------------------------------------------------------------------------------------------------

  /** Puts a held connection, or one that came back, on the list of those to examine in this turn. */
  private examineAgain(slot: number): void {
    const { backend, marks, state } = this.connections;
    // A waiting one may be listed for an upgrade when its client sends more.
    if ((marks[slot]! & LISTED) !== 0) return;
    if (state[slot] === State.HELD) this.hold.end(slot, this.backends[backend[slot]!]!);
    marks[slot]! |= LISTED;
    this.again[this.againCount++] = slot;
  }

  /** The same for one that waits, and is to be examined whether something has come or not. */
  private peekAgain(slot: number): void {
    this.stopWaiting(slot);
    this.examineAgain(slot);
  }

  /** Peeks at and examines the connections that are on the list now, not those that are put on it meanwhile. */
  private examineAll(): void {
    const { loop, connections, again } = this;
    const listed = this.againCount;
    for (let done = 0; done < listed; ) {
      const count = Math.min(listed - done, BATCH);
      const slots = this.peeked;
      for (let i = 0; i < count; i++) {
        const slot = again[done++]!;
        slots[i] = slot;
        loop.peekDescriptors[i] = connections.descriptor[slot]!;
      }
      loop.peek(count);
      for (let i = 0; i < count; i++) {
        connections.marks[slots[i]!]! &= ~LISTED;
        if ((connections.marks[slots[i]!]! & READ) !== 0) this.putBack(slots[i]!, i);
        this.examine(slots[i]!, i);
      }
    }
    again.copyWithin(0, listed, this.againCount);
    this.againCount -= listed;
  }

  /** The oldest held connection of a backend of datagrams, for which there may be room. */
  private readonly serveHeld = (backend: Backend): void => {
    const { connections, loop } = this;
    const slot = backend.held.head;
    this.hold.end(slot, backend);
    loop.peekDescriptors[0] = connections.descriptor[slot]!;
    loop.peek(1);
    if ((connections.marks[slot]! & READ) !== 0) this.putBack(slot, 0);
    this.served = slot;
    this.examine(slot, 0);
    this.served = NOBODY;
  };

  /** Has the i-th of the last peek be as if its hello had not been read. */
  private putBack(slot: number, i: number): void {
    const { loop } = this;
    const length = loop.peekLengths[i]!;
    if (length <= 0 && length !== NOTHING_YET) return; // the client is gone
    const early = this.connections.early.get(slot)!;
    loop.peekBuffer.set(early, i * PEEK_BYTES);
    loop.peekLengths[i] = early.length;
  }

  /** Decides about the connection whose bytes are the i-th of the last accept or peek. */
  private examine(slot: number, i: number): void {
    try {
      this.decide(slot, this.loop.peekLengths[i]!, i * PEEK_BYTES);
    } catch (error) {
      this.defect(slot, error as Error);
    }
  }

  private decide(slot: number, length: number, start: number): void {
    const { reader } = this;
    if (length === 0 || (length < 0 && length !== NOTHING_YET)) return this.clientGone(slot);
    this.peekedAt = start;
    this.peekedLength = Math.max(0, length);
    const otherwise = this.connections.marks[slot]! & NO_HELLO_FIRST;
    if (otherwise !== 0) {
      if ((otherwise & HEADER_EXPECTED) !== 0) return this.decideProxied(slot, Math.max(0, length), start);
      if ((otherwise & HTTP) !== 0) return this.decideRequest(slot, Math.max(0, length), start);
      // Who was silent has spoken since: it may be TLS.
      if (length > 0) this.connections.marks[slot]! &= ~PLAIN;
    }
    const status = reader.read(this.loop.peekBuffer, start, start + this.peekedLength);
    if (status !== Status.PARTIAL) {
      if (status === Status.NOT_TLS) return this.decidePlain(slot, length, start);
      this.stopWaiting(slot);
      if (this.recorder.isOn) this.recorder.noteHello(slot, reader);
    }
    switch (status) {
      case Status.DONE: {
        if (this.successor !== undefined && this.maySucceed(slot, this.successor)) {
          return this.give(slot, this.successor, Flag.TLS | (reader.ech ? Flag.ECH : 0));
        }
        const { routes } = this;
        const target =
          reader.nameLength > 0 ? routes.lookup(reader.name, 0, reader.nameLength) : routes.noServerNameTarget;
        if (reader.nameLength > 0 && this.recorder.isOn) this.recorder.noteRoute(slot, routes);
        if (target < 0) {
          this.counters[Counter.no_route]!++;
          this.recorder.record(slot, Outcome.refused, Reason.no_route);
          return this.refuse(slot, "unrecognized_name");
        }
        const flags = Flag.TLS | (reader.ech ? Flag.ECH : 0);
        return target < FIRST_RULES ? this.place(slot, target, flags) : this.placeByRules(slot, target, flags);
      }
      case Status.PARTIAL:
        if ((this.connections.marks[slot]! & Mark.ENDED) !== 0) return this.clientGone(slot);
        if (this.successor !== undefined && this.channels.isOpen(this.successor)) {
          this.stopWaiting(slot);
          reader.nameLength = reader.alpnLength = 0;
          return this.give(slot, this.successor, Flag.INCOMPLETE);
        }
        if (length < 0 && this.settings.silent !== undefined) return this.decideSilent(slot, this.settings.silent);
        return this.wait(slot, reader.needed);
      case Status.INVALID:
        this.counters[Counter.hello_invalid]!++;
        this.recorder.record(slot, Outcome.refused, Reason[reader.reason]);
        return this.refuse(slot, alertFor(reader.reason));
    }
  }

  /** The same where a PROXY header comes first: once that is read, about what is behind it. */
  private decideProxied(slot: number, length: number, start: number): void {
    const { connections, limits, proxies, reader } = this;
    switch (proxies.read(slot, start, length)) {
      case HeaderStatus.PARTIAL:
        if ((connections.marks[slot]! & Mark.ENDED) !== 0) {
          return length > 0 ? this.refuseHeader(slot, "proxy_torn") : this.clientGone(slot);
        }
        if (this.successor === undefined || !this.channels.isOpen(this.successor)) {
          return this.wait(slot, proxies.needed);
        }
        this.stopWaiting(slot);
        reader.nameLength = reader.alpnLength = 0;
        this.http.clear();
        return this.give(
          slot,
          this.successor,
          Flag.INCOMPLETE | Flag.PROXY_EXPECTED | (this.isHttp(slot) ? Flag.HTTP : 0),
        );
      case HeaderStatus.NONE:
        return this.refuseHeader(slot, "proxy_missing");
      case HeaderStatus.INVALID:
        return this.refuseHeader(slot, proxies.reason);
    }
    this.stopWaiting(slot);
    this.restoreLowWater(slot);
    if (!proxies.take(slot)) return this.clientGone(slot);
    this.counters[Counter.proxied]!++;
    if (limits.ratesApply && this.isOfClient(slot) && !limits.admit(slot, this.loop.clock[0]!)) {
      return this.turnAway(slot, "rate_limited", "reset");
    }
    const header = connections.consumed[slot]!;
    this.decide(slot, length > header ? length - header : NOTHING_YET, start + header);
  }

  /** The same for what does not begin with TLS. */
  private decidePlain(slot: number, length: number, start: number): void {
    const { connections, firstBytes, loop, reader, recorder } = this;
    const isEnded = (connections.marks[slot]! & Mark.ENDED) !== 0;
    const found = firstBytes?.find(loop.peekBuffer, start, start + length, isEnded) ?? NO_RULE;
    const passesOn = this.successor !== undefined && this.maySucceed(slot, this.successor);
    if (found === UNDECIDED && !passesOn) return this.wait(slot, length + 1);
    this.stopWaiting(slot);
    reader.nameLength = reader.alpnLength = 0;
    if (passesOn) return this.give(slot, this.successor!, found === UNDECIDED ? Flag.INCOMPLETE : 0);
    connections.marks[slot]! |= PLAIN;
    const target = found === NO_RULE ? this.routes.notTlsTarget : found;
    if (recorder.isOn) recorder.noteHello(slot, reader);
    if (target >= 0) return this.place(slot, target, firstBytes?.isHttp === true ? Flag.HTTP : 0);
    this.counters[Counter.not_tls]!++;
    recorder.record(slot, Outcome.refused, Reason.not_tls);
    this.refuse(slot, "close");
  }

  /** The same for who has sent nothing yet, where that leads somewhere. */
  private decideSilent(slot: number, { after, backend }: SilentSettings): void {
    const { connections, reader } = this;
    if (this.loop.clock[0]! < connections.acceptedAt[slot]! + after) {
      if (connections.state[slot] === State.WAITING || !this.beginWaiting(slot)) return;
      connections.marks[slot]! |= SILENT;
      this.silent.insert(slot, connections.acceptedAt);
      return;
    }
    this.stopWaiting(slot);
    // Once only: one that is held, or comes back, is examined again.
    if ((connections.marks[slot]! & PLAIN) === 0) this.counters[Counter.silent]!++;
    connections.marks[slot]! |= PLAIN;
    reader.nameLength = reader.alpnLength = 0;
    this.place(slot, backend, 0);
  }

  private silenceEndsAt(slot: number): number {
    return this.connections.acceptedAt[slot]! + (this.settings.silent?.after ?? 0);
  }

  /** Of a load balancer that does not say who its client is, or not so that it can be understood, nothing is taken. */
  private refuseHeader(slot: number, reason: HeaderReason, outcome: number = Outcome.refused): void {
    this.stopWaiting(slot);
    this.counters[Counter.proxy_header_invalid]!++;
    this.recorder.record(slot, outcome, Reason[reason]);
    this.report.line(this.loop.clock[0]!, "warn", "proxy.invalid", explainHeader(reason), {
      reason,
      proxy: readAddress(this.connections.address, slot * ADDRESS)?.address ?? "unknown",
    });
    this.refuse(slot, "close");
  }

  /** The same for what came by an http listener. */
  private decideRequest(slot: number, length: number, start: number): void {
    const { http, recorder } = this;
    const bytes = this.loop.peekBuffer;
    const status = http.read(slot, bytes, start, start + length);
    if (status === HeadStatus.PARTIAL) {
      if ((this.connections.marks[slot]! & Mark.ENDED) !== 0) return this.clientGone(slot);
      if (this.successor === undefined || !this.channels.isOpen(this.successor)) return this.wait(slot, 1);
    }
    this.stopWaiting(slot);
    if (recorder.isOn) recorder.noteHello(slot, http);
    if (status === HeadStatus.INVALID) return this.refuseRequest(slot, "http_invalid", http.reason, "bad_request");
    if (this.successor !== undefined && this.maySucceed(slot, this.successor)) {
      return this.give(slot, this.successor, Flag.HTTP | (status === HeadStatus.PARTIAL ? Flag.INCOMPLETE : 0));
    }
    const target = http.route(bytes);
    if (recorder.isOn && http.isLookedUp) recorder.noteRoute(slot, http.routes!);
    if (target >= 0) return this.place(slot, target, Flag.HTTP);
    if (target !== REDIRECTED) return this.refuseRequest(slot, "no_route", "no_route", http.refusal);
    if (http.isTooLong) return this.refuseRequest(slot, "http_invalid", "http_path_too_long", "uri_too_long");
    this.counters[Counter.redirected]!++;
    recorder.record(slot, Outcome.answered, Reason.redirected);
    this.part(slot, http.redirection(bytes));
  }

  private refuseRequest(
    slot: number,
    counter: "http_invalid" | "no_route",
    reason: keyof typeof Reason,
    answer: AnswerName,
  ): void {
    this.counters[Counter[counter]]!++;
    this.recorder.record(slot, Outcome.refused, Reason[reason]);
    this.part(slot, this.http.answer(answer));
  }

  /** Upgrade: whether a connection goes to the process that takes over. One whose hello was read is finished here. */
  private maySucceed(slot: number, successor: Backend): boolean {
    return (this.connections.marks[slot]! & READ) === 0 && this.channels.isOpen(successor);
  }

  /** The hello is not complete: wait until there are `needed` bytes, the client ends, or the deadline. */
  private wait(slot: number, needed: number): void {
    const { connections } = this;
    // Once for each value: set again where the queue's memory is nearly used up, it would wake the poll for ever.
    if (needed > 1 && connections.lowWater[slot] !== needed) this.raiseLowWater(slot, needed);
    if (connections.state[slot] === State.WAITING) {
      if ((connections.marks[slot]! & SILENT) === 0) return;
      this.silent.remove(slot);
      connections.marks[slot]! &= ~SILENT;
    } else if (!this.beginWaiting(slot)) {
      return;
    }
    // Of a hello that began with the predecessor, before a reload, or after a silence, the deadline may be another.
    this.waiting.insert(slot, connections.deadline);
  }

  /** Without it the connection is only looked at more often. */
  private raiseLowWater(slot: number, needed: number): void {
    try {
      // Looks at the queue anew and wakes the poll if the bytes came meanwhile (tcp_set_rcvlowat), or if the queue's memory
      // is nearly used up, as many small segments do.
      native.setReceiveLowWater(this.connections.descriptor[slot]!, needed);
      this.connections.lowWater[slot] = needed;
    } catch {
      // Nothing was changed.
    }
  }

  /** Watches a connection that waits; the caller puts it into a list. Returns false if too many wait: it is closed. */
  private beginWaiting(slot: number): boolean {
    const { connections } = this;
    const isOfClient = this.isOfClient(slot);
    const full = this.limits.beginWaiting(slot, this.loop.clock[0]!, isOfClient);
    if (full !== undefined) {
      this.turnAway(slot, full, "close");
      return false;
    }
    this.restorePoll(slot);
    const tag = connectionTag(connections.generation[slot]!);
    try {
      // Adding looks at the state, so bytes that came since the peek are not missed.
      this.loop.add(connections.descriptor[slot]!, WAITING_EVENTS, tag, slot);
    } catch {
      // ENOMEM, ENOSPC (max_user_watches): epoll_ctl(2). One too many for the kernel.
      this.limits.endWaiting(slot, isOfClient);
      this.turnAway(slot, "waiting_full", "close");
      return false;
    }
    connections.state[slot] = State.WAITING;
    connections.marks[slot]! |= Mark.POLLED;
    return true;
  }

  private stopWaiting(slot: number): void {
    if (this.connections.state[slot] !== State.WAITING) return;
    if ((this.connections.marks[slot]! & SILENT) === 0) this.waiting.remove(slot);
    else this.silent.remove(slot);
    this.connections.marks[slot]! &= ~SILENT;
    this.limits.endWaiting(slot, this.isOfClient(slot));
    this.connections.state[slot] = State.PLACING;
  }

  /** Counts for the client that its address is of: not before a PROXY header has told that, nor if that tells nobody. */
  private isOfClient(slot: number): boolean {
    const { consumed, marks, proxy } = this.connections;
    return (marks[slot]! & HEADER_EXPECTED) === 0 && (consumed[slot] === 0 || proxy[slot * ADDRESS] !== 0);
  }

  // --- place -----------------------------------------------------------------------------------------------------

  /** Gives the connection whose hello `reader` has just read to a backend: its route's, or the fallback that it was diverted to. */
  private place(slot: number, routed: number, flags: number): void {
    const diverted = this.connections.diverted[slot]!;
    this.give(slot, this.backends[diverted === NOBODY ? routed : diverted]!, flags);
  }

  /** The same, where the look-up gave no backend but `looked`: rules or patterns. */
  private placeByRules(slot: number, looked: number, flags: number): void {
    const { connections, recorder, rules } = this;
    const backend = rules.decide(looked, this.routes, this.reader, connections.address, slot * ADDRESS);
    if (rules.pattern >= 0) this.counters[Counter.by_pattern]!++;
    else if (rules.rule >= 0) this.counters[Counter.by_rule]!++;
    if (recorder.isOn) recorder.noteRule(slot, rules);
    if (rules.rejection === undefined) return this.place(slot, backend, flags);
    connections.backend[slot] = backend;
    this.counters[Counter.access_denied]!++;
    this.countAt(slot, BackendCounter.access_denied);
    recorder.record(slot, Outcome.refused, Reason.access_denied);
    this.refuse(slot, rules.rejection);
  }

  private give(slot: number, backend: Backend, flags: number): void {
    this.connections.backend[slot] = backend.index;
    const { settings } = backend;
    if (settings.kind === "reject") {
      const counter = settings.countedAs ?? "rejected";
      this.counters[Counter[counter]]!++;
      this.countAt(slot, BackendCounter.rejected);
      this.recorder.record(slot, Outcome.refused, Reason[counter]);
      this.refuse(slot, settings.reject);
      return;
    }
    if (this.isDiverting(backend)) return this.giveUp(slot, settings, "hold_timeout");
    if (settings.kind === "datagram") return this.giveDatagram(slot, backend, settings, flags);
    if ((this.connections.marks[slot]! & READ) !== 0) return this.spent(slot);
    const channel = this.instanceFor(slot, backend, settings);
    if (channel === undefined) this.holdOrGiveUp(slot, backend, settings);
    else this.handOver(slot, channel, flags);
  }

  /** In a datagram: behind those that wait, and if there is room. */
  private giveDatagram(slot: number, backend: Backend, settings: DatagramBackendSettings, flags: number): void {
    const length = this.beginning(slot, flags) || Math.min(this.peekedLength, settings.maxHello);
    if (length > settings.maxHello) return this.giveUp(slot, settings, "hello_too_long");
    if (slot === this.served || backend.held.count === 0) {
      this.restore(slot);
      switch (this.datagrams.pass(slot, backend, this.peekedAt, length)) {
        case Passed.SENT:
          return this.passed(slot);
        case Passed.GONE:
          return this.clientGone(slot);
      }
    }
    this.holdOrGiveUp(slot, backend, settings);
  }

  /** Bytes of the hello, or of the head, that were read last; 0: it is neither. */
  private beginning(slot: number, flags: number): number {
    if ((flags & Flag.TLS) !== 0) return this.reader.length;
    return this.isHttp(slot) ? this.http.length : 0;
  }

  /** Its hello was read for a datagram, and it would now go to somebody who has to read it. */
  private spent(slot: number): void {
    this.counters[Counter.hello_spent]!++;
    this.countAt(slot, BackendCounter.hello_spent);
    this.recorder.record(slot, Outcome.refused, Reason.hello_spent);
    this.fail(slot);
  }

  private instanceFor(slot: number, backend: Backend, settings: HandoffBackendSettings): Channel | undefined {
    if (this.unacknowledged >= this.unacknowledgedLimit) {
      this.limited = true;
      return undefined;
    }
    if (backend.capacity === 0) return undefined;
    return choose(backend.channels, settings.balance, this.loop.clock[0]!, this.refusals(slot));
  }

  private refusals(slot: number): ReadonlyMap<string, string> | undefined {
    const { marks, refusals } = this.connections;
    return (marks[slot]! & Mark.REFUSED) === 0 ? undefined : refusals.get(slot);
  }

  /** The operator has drained it, and its clients have somewhere else to go. */
  private isDiverting({ drained, settings }: Backend): boolean {
    return drained && settings.kind !== "reject" && settings.fallback !== NOBODY;
  }

  private handOver(slot: number, channel: Channel, flags: number): void {
    const { connections, facts } = this;
    const reader = this.isHttp(slot) ? this.http : this.reader;
    if (this.outbox.full) this.flush();
    this.restore(slot);
    facts.connectionIdLow = connections.idLow[slot]!;
    facts.connectionIdHigh = connections.idHigh[slot]!;
    facts.acceptedAtLow = connections.acceptedAtLow[slot]!;
    facts.acceptedAtHigh = connections.acceptedAtHigh[slot]!;
    facts.flags = flags;
    facts.helloDeadlineLow = facts.helloDeadlineHigh = 0;
    if ((flags & Flag.INCOMPLETE) !== 0) this.tellDeadline(connections.deadline[slot]!);
    facts.name = reader.name;
    facts.nameLength = reader.nameLength;
    facts.alpn = reader.source;
    facts.alpnStart = reader.alpnOffset;
    facts.alpnLength = reader.alpnLength;
    facts.consumed = connections.consumed[slot]!;
    if (facts.consumed !== 0) this.tellAddresses(slot);
    connections.pid[slot] = channel.pid;
    this.outbox.add(slot, channel, facts);
    this.unacknowledged++;
  }

  /** Those that the connection's PROXY header told, if it told any. */
  private tellAddresses(slot: number): void {
    const { connections, facts } = this;
    const at = slot * ADDRESS;
    const isTold = connections.proxy[at] !== 0;
    facts.client = isTold ? connections.address : NO_ADDRESS;
    facts.server = isTold ? connections.server : NO_ADDRESS;
    facts.clientStart = facts.serverStart = isTold ? at : 0;
  }

  /** `deadline` is CLOCK_MONOTONIC in milliseconds; processes tell each other CLOCK_REALTIME in nanoseconds. */
  private tellDeadline(deadline: number): void {
    const { clock } = this.loop;
    const nanoseconds = (clock[1]! + Math.max(0, deadline - clock[0]!)) * 1e6;
    this.facts.helloDeadlineLow = (nanoseconds % 2 ** 32) >>> 0;
    this.facts.helloDeadlineHigh = Math.floor(nanoseconds / 2 ** 32);
  }

  /** Undoes what waiting did to the socket: it is shared with whoever gets it (epoll(7) Q6, socket(7) SO_RCVLOWAT). */
  private restore(slot: number): void {
    this.restorePoll(slot);
    this.restoreLowWater(slot);
  }

  private restoreLowWater(slot: number): void {
    const { connections } = this;
    if (connections.lowWater[slot] === 0) return;
    native.setReceiveLowWater(connections.descriptor[slot]!, 1);
    connections.lowWater[slot] = 0;
  }

  private restorePoll(slot: number): void {
    const { connections } = this;
    if ((connections.marks[slot]! & Mark.POLLED) === 0) return;
    this.unwatch(connections.descriptor[slot]!);
    connections.marks[slot]! &= ~Mark.POLLED;
  }

  /** What cannot be taken out of the set stays there until its last copy is closed: its events are of nobody's. */
  private unwatch(descriptor: number): void {
    try {
      this.loop.remove(descriptor);
    } catch {
      // Nothing can be done about it.
    }
  }

  private flush(): void {
    if (this.outbox.empty) return;
    const now = this.loop.clock[0]!;
    const sent = this.outbox.flush(now, this.sent, this.sendFailed);
    this.counters[Counter.handed_over]! += sent;
    if (sent === 0) return;
    this.isBusy = true;
    this.channels.wake(now + this.leastAcknowledgeTimeout);
  }

  private readonly sent = (slot: number): void => {
    this.countAt(slot, HANDED_OVER);
  };

  private readonly sendFailed = (slot: number, channel: Channel, errno: number): void => {
    this.unacknowledged--;
    this.channels.sendFailed(channel, errno);
    this.examineAgain(slot);
  };

  // --- after the handoff -----------------------------------------------------------------------------------------

  /** Acknowledged: the instance has it, the copy that was kept for it goes. */
  private owned(slot: number): void {
    this.unacknowledged--;
    if (this.successor !== undefined && this.connections.backend[slot] === this.successor.index) {
      this.counters[Counter.passed_on]!++;
      this.recorder.record(slot, Outcome.passed_on, NO_REASON);
      this.close(slot);
      return;
    }
    this.counters[Counter.acknowledged]!++;
    const { connections } = this;
    const backend = connections.backend[slot]!;
    if (backend !== NOBODY) {
      this.backendCounters[backend * ROW + ACKNOWLEDGED]!++;
      countLatency(this.latencies, backend, this.loop.clock[0]! - connections.acceptedAt[slot]!);
    }
    this.recorder.record(slot, Outcome.handed_over, NO_REASON);
    this.close(slot);
  }

  /** In a datagram that was sent: nothing will tell what becomes of it. */
  private passed(slot: number): void {
    const { connections } = this;
    const now = this.loop.clock[0]!;
    connections.sentAt[slot] = now;
    connections.pid[slot] = NOBODY;
    this.counters[Counter.handed_over]!++;
    this.counters[Counter.acknowledged]!++;
    this.countAt(slot, HANDED_OVER);
    this.countAt(slot, ACKNOWLEDGED);
    const backend = connections.backend[slot]!;
    if (backend !== NOBODY) countLatency(this.latencies, backend, now - connections.acceptedAt[slot]!);
    this.recorder.record(slot, Outcome.handed_over, NO_REASON);
    this.close(slot);
  }

  /** Refused, or outstanding at an instance that is dead or revoked: to somebody else, if nobody has touched it. */
  private comesBack(slot: number): void {
    this.unacknowledged--;
    const { connections } = this;
    connections.state[slot] = State.PLACING;
    if (connections.heldSince[slot] === 0) connections.heldSince[slot] = connections.sentAt[slot]!;
    switch (this.intact(slot)) {
      case Intact.WHOLE:
        this.counters[Counter.redelivered]!++;
        this.countAt(slot, BackendCounter.redelivered);
        this.examineAgain(slot);
        break;
      case Intact.GONE:
        this.clientGone(slot);
        break;
      default:
        this.counters[Counter.lost_after_read]!++;
        this.countAt(slot, BackendCounter.lost_after_read);
        this.recorder.record(slot, Outcome.lost, Reason.lost_after_read);
        this.close(slot);
    }
  }

  /** What cannot be told to be whole is not given to anybody else. */
  private intact(slot: number): Intact {
    const { consumed, descriptor } = this.connections;
    try {
      return native.intact(descriptor[slot]!, consumed[slot]!);
    } catch {
      return Intact.TOUCHED;
    }
  }

  // --- hold ------------------------------------------------------------------------------------------------------

  private holdOrGiveUp(slot: number, backend: Backend, settings: HoldingBackendSettings): void {
    const { connections } = this;
    const now = this.loop.clock[0]!;
    const since = connections.heldSince[slot]! || now;
    this.channels.wanted(backend);
    if (now >= since + settings.hold) return this.giveUp(slot, settings, "hold_timeout");
    this.restore(slot);
    const isFirst = slot === this.served || (connections.marks[slot]! & READ) !== 0;
    if (!this.hold.begin(slot, backend, settings, isFirst)) return this.giveUp(slot, settings, "hold_full");
    if (settings.kind === "datagram") this.datagrams.held(backend);
    this.counters[Counter.held]!++;
    this.countAt(slot, BackendCounter.held);
    this.heldDueAt = Math.min(this.heldDueAt, since + settings.hold);
  }

  /** An instance may take connections again: those that wait for one are examined, as many as it can be. */
  private opened(index: number): void {
    const backend = this.backends[index];
    if (backend === undefined || backend.held.count === 0) return;
    if (backend.settings.kind === "datagram") return this.datagrams.wake(backend);
    const { held } = backend;
    const now = this.loop.clock[0]!;
    let room = backend.room(now);
    for (let left = held.count; left > 0 && room > 0 && this.passedOver < MOST_PASSED_OVER; left--) {
      const slot = held.head;
      if (this.isWelcome(slot, backend, now)) {
        this.examineAgain(slot);
        room--;
      } else {
        // Those behind it may be welcome.
        this.passedOver++;
        held.remove(slot);
        held.push(slot);
      }
    }
  }

  /** Whether one that has room has not refused it. */
  private isWelcome(slot: number, { channels }: Backend, now: number): boolean {
    const refusals = this.refusals(slot);
    return refusals === undefined || channels.some((channel) => mayTake(channel, now, refusals));
  }

  private tickHeld(now: number): void {
    this.heldDueAt = Number.POSITIVE_INFINITY;
    const { heldSince, next } = this.connections;
    for (const backend of this.backends) {
      if (backend.settings.kind === "reject") continue;
      for (let slot = backend.held.head; slot !== NOBODY; ) {
        const after = next[slot]!;
        const due = heldSince[slot]! + backend.settings.hold;
        if (due <= now) {
          this.hold.end(slot, backend);
          this.giveUp(slot, backend.settings, "hold_timeout");
        } else {
          this.heldDueAt = Math.min(this.heldDueAt, due);
        }
        slot = after;
      }
    }
  }

  /** No instance took it in time, there is no room to hold it, or it is nothing for this backend. */
  private giveUp(
    slot: number,
    settings: HoldingBackendSettings,
    counter: "hold_timeout" | "hold_full" | "hello_too_long",
  ): void {
    const { fallback } = settings;
    if (fallback === NOBODY || this.connections.diverted[slot] === fallback || !this.canFollow(slot, fallback)) {
      this.counters[Counter[counter]]!++;
      this.countAt(slot, BackendCounter[counter]);
      this.recorder.record(slot, Outcome.refused, Reason[counter]);
      this.fail(slot);
      return;
    }
    this.counters[Counter.fallback]!++;
    this.countAt(slot, BackendCounter.fallback);
    this.connections.diverted[slot] = settings.fallback;
    this.connections.heldSince[slot] = 0;
    this.examineAgain(slot);
  }

  /** Whether a connection can go to a backend: one whose hello was read not to those that read it themselves. */
  private canFollow(slot: number, backend: number): boolean {
    return (this.connections.marks[slot]! & READ) === 0 || this.backends[backend]!.settings.kind !== "handoff";
  }

  // --- the end ---------------------------------------------------------------------------------------------------

  /** Refuses: with an alert, or what says the same in the client's protocol; by closing; or by a reset. */
  private refuse(slot: number, how: AlertName | "close" | "reset"): void {
    if (how === "reset") {
      this.resetOnClose(slot);
      this.close(slot);
      return;
    }
    this.part(slot, how === "close" ? NOTHING : this.isHttp(slot) ? this.http.answerTo(how) : alertRecord(how));
  }

  private resetOnClose(slot: number): void {
    try {
      native.resetOnClose(this.connections.descriptor[slot]!);
    } catch {
      // Then without a reset.
    }
  }

  /** Refuses for the door's own reasons, in a way that the client understands. */
  private fail(slot: number): void {
    this.refuse(slot, (this.connections.marks[slot]! & PLAIN) === 0 ? "internal_error" : "close");
  }

  private isHttp(slot: number): boolean {
    return (this.connections.marks[slot]! & HTTP) !== 0;
  }

  private part(slot: number, bytes: Uint8Array): void {
    try {
      this.restore(slot);
      this.parting.begin(slot, bytes);
    } catch (error) {
      this.defect(slot, error as Error);
      return;
    }
    this.partingDueAt = Math.min(this.partingDueAt, this.loop.clock[0]! + 1000);
  }

  private clientGone(slot: number): void {
    this.stopWaiting(slot);
    this.counters[Counter.client_gone]!++;
    this.countAt(slot, BackendCounter.client_gone);
    this.recorder.record(slot, Outcome.client_gone, Reason.client_gone);
    this.close(slot);
  }

  /** A defect of the door itself ends this one connection, not the worker. */
  private defect(slot: number, error: Error): void {
    this.counters[Counter.defect]!++;
    this.report.line(this.loop.clock[0]!, "error", "connection.defect", `defect: ${error.message}`, {
      stack: error.stack ?? "",
    });
    if (this.connections.state[slot] === State.PARTING) this.parting.abandon(slot);
    else if (this.connections.state[slot] === State.PLACING) this.recorder.record(slot, Outcome.lost, Reason.defect);
    else return;
    this.close(slot);
  }

  /** Counts for the backend that the connection is placed at, if that is configured. */
  private countAt(slot: number, column: number): void {
    const backend = this.connections.backend[slot]!;
    if (backend !== NOBODY) this.backendCounters[backend * ROW + column]!++;
  }

  /** The one place that closes a client's descriptor, at the end of the turn or when the batch is full. */
  private close(slot: number): void {
    if (this.closing === BATCH) this.flushCloses();
    // A stopped instance may still have a copy in its queue: then closing alone would leave it in the epoll set.
    this.restorePoll(slot);
    this.loop.closeDescriptors[this.closing++] = this.connections.release(slot);
  }

  private flushCloses(): void {
    if (this.closing === 0) return;
    this.counters[Counter.lingering_closes]! += this.loop.close(this.closing);
    this.closing = 0;
  }

  // --- shutdown --------------------------------------------------------------------------------------------------

  private checkDrained(): void {
    if (this.drained) return;
    if (this.connections.count > 0 && this.loop.clock[0]! < this.drainDeadline) return;
    this.drained = true;
    const abandoned = this.abandonAll();
    this.counters[Counter.abandoned]! += abandoned;
    // What is outstanding belongs to its instance once the channel ends.
    this.datagrams.closeAll();
    this.channels.closeAll((slot) => {
      this.unacknowledged--;
      this.close(slot);
    });
    this.flushCloses();
    this.post({ type: "drained", abandoned });
  }

  /** Refuses all that are not outstanding. Returns how many those are. */
  private abandonAll(): number {
    const { backend, capacity, state } = this.connections;
    let abandoned = 0;
    for (let slot = 0; slot < capacity; slot++) {
      if (state[slot] === State.WAITING) this.stopWaiting(slot);
      else if (state[slot] === State.HELD) this.hold.end(slot, this.backends[backend[slot]!]!);
      else if (state[slot] !== State.PLACING) continue;
      abandoned++;
      this.recorder.record(slot, Outcome.refused, Reason.abandoned);
      this.fail(slot);
    }
    this.againCount = 0;
    return abandoned;
  }
}
