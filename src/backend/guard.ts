/**
 * Answers requests that came over a connection which was routed for another host. Browsers send such requests
 * (connection coalescing, RFC 9113 §9.1.1), and repeat them over a new connection when they get 421.
 */
import type { EventEmitter } from "node:events";
import { Server as HttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Http2Server, IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import { Server as HttpsServer } from "node:https";
import { Server } from "node:net";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { HandoffError } from "../errors.js";
import { authoritiesOf, authoritiesOfStream, hostOf } from "./authority.js";
import { type HandedOver, handoffInfo } from "./info.js";
import { answer, answerExpecting, answerStream, answerUpgrade } from "./misdirected.js";
import { NameList } from "./name-list.js";

export interface GuardOptions {
  /**
   * Hosts that are answered whatever name the connection was routed for: those that this server serves beside it, at
   * the same addresses, with a certificate that covers both. Names ("www.example.com") and wildcards ("*.example.com":
   * every name below example.com), or a function, which gets the request's host (lower case, without port) and the
   * connection's server name. What it throws is the process's uncaught exception. Default: none.
   */
  readonly also?: readonly string[] | ((host: string, serverName: string | undefined) => boolean);
  /**
   * What becomes of a request of which that cannot be said: it has no authority, or its connection has no known server
   * name (the client sent none; it was not handed over; the name is the outer one of an encrypted hello). Default: "pass".
   */
  readonly unknown?: "pass" | "refuse";
  /** Told of each request that is answered 421, before the answer: for a log or a counter. */
  readonly onMisdirected?: (host: string | undefined, serverName: string | undefined) => void;
}

/**
 * Has an http, https or http2 server answer 421 Misdirected Request to requests whose host is not the server name that
 * the front door routed their connection by. The server's listeners, whenever they were added, do not see these
 * requests: 'request', 'checkContinue', 'checkExpectation', 'upgrade' and 'connect', and http2's 'stream'.
 *
 * The host is that of the target (absolute-form, `:authority`, CONNECT) and of Host: if there are several, each must be
 * right. Ports are not compared. The connection and its other requests go on.
 *
 * Throws a HandoffError, ERR_OPTION.
 */
export function guard(server: Server, options: GuardOptions = {}): void {
  if (!isHttp(server)) throw new HandoffError("ERR_OPTION", "the server is none of http, https or http2");
  const isMisdirected = judge(options);

  intercept(server, (event, subject, other) => {
    switch (event) {
      case "session":
        guardSession(subject as ServerHttp2Session, isMisdirected);
        return false;
      case "request":
      case "checkContinue":
      case "checkExpectation":
      case "upgrade":
      case "connect":
        break;
      default:
        return false;
    }
    const request = subject as IncomingMessage;
    // http2's requests for listeners of http's kind come from streams that have passed.
    if (request.httpVersionMajor > 1 || !isMisdirected(request, authoritiesOf(request))) return false;
    if (event === "request") answer(other as ServerResponse);
    else if (event === "upgrade" || event === "connect") answerUpgrade(request, other as Duplex);
    else answerExpecting(other as ServerResponse);
    return true;
  });
}

function guardSession(session: ServerHttp2Session, isMisdirected: Judge): void {
  intercept(session, (event, subject, other) => {
    if (event !== "stream") return false;
    const headers = other as IncomingHttpHeaders;
    if (!isMisdirected(session, authoritiesOfStream(headers))) return false;
    answerStream(subject as ServerHttp2Stream, headers[":method"]);
    return true;
  });
}

/** http2's classes are not exported; their servers, secure or not, are the only ones that have this method. */
function isHttp(server: unknown): boolean {
  if (!(server instanceof Server)) return false;
  return (
    server instanceof HttpServer ||
    server instanceof HttpsServer ||
    typeof (server as Partial<Http2Server>).updateSettings === "function"
  );
}

/** Events for which `takes` returns true reach no listener. Node has no other place before all of them. */
function intercept(emitter: EventEmitter, takes: (event: unknown, first: unknown, second: unknown) => boolean): void {
  const { emit } = emitter;
  emitter.emit = function (this: EventEmitter, ...args: Parameters<typeof emit>): boolean {
    return takes(args[0], args[1], args[2]) || emit.apply(this, args);
  };
}

/** Whether a request with these authorities belongs on another connection. */
type Judge = (from: HandedOver, authorities: readonly string[]) => boolean;

function judge({ also = [], unknown = "pass", onMisdirected }: GuardOptions): Judge {
  if (unknown !== "pass" && unknown !== "refuse") {
    throw new HandoffError("ERR_OPTION", `unknown is ${JSON.stringify(unknown)}; "pass" or "refuse" is needed`);
  }
  const list = typeof also === "function" ? undefined : new NameList(also);
  const isAlso = typeof also === "function" ? also : (host: string) => list!.has(host);

  return (from, authorities) => {
    const serverName = knownServerName(from);
    if (authorities.length === 0 && unknown === "pass") return false;
    const wrong = authorities.map(hostOf).find((host) => {
      if (serverName === undefined ? unknown === "pass" : host === serverName) return false;
      return !isAlso(host, serverName);
    });
    if (wrong === undefined && authorities.length > 0) return false;
    onMisdirected?.(wrong, serverName);
    return true;
  };
}

/**
 * The server name that the connection was routed by, if it is certain that the client means it. Browsers send an
 * extension for an encrypted hello even when they encrypt nothing (RFC 9849 §6.2): the name is then the outer one, and
 * it is the client's own if the TLS server's handshake has found the same.
 */
function knownServerName(from: HandedOver): string | undefined {
  const info = handoffInfo(from);
  if (info?.serverName === undefined || !info.ech) return info?.serverName;
  const { servername } = (from as IncomingMessage | ServerHttp2Session).socket as Partial<TLSSocket>;
  return typeof servername === "string" && hostOf(servername) === info.serverName ? info.serverName : undefined;
}
