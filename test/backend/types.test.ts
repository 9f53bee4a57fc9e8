/** What a TypeScript program sees of the package: checked by the compiler (npm run check); that it runs, here. */
import * as http from "node:http";
import type { ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import * as net from "node:net";
import type { TLSSocket } from "node:tls";
import {
  type Address,
  attach,
  type DatagramReceiver,
  type DrainOptions,
  drainOnSignal,
  guard,
  HandoffError,
  type HandoffInfo,
  handoffInfo,
  type PeerError,
  type Receiver,
  receive,
  type SystemCallError,
} from "sni-handoff/backend";
import { expect, expectTypeOf, it } from "vitest";

it("attach and receive", () => {
  const server = new http.Server();
  const withDatagrams = () => attach(server, { path: "/a", protocol: "datagram" });
  const withHandoffs = () => attach(server, { path: "/a", window: 64, overloaded: () => false });
  const bare = () => receive({ path: "/a", allowHalfOpen: true }, (_socket: net.Socket, _info: HandoffInfo) => {});
  expectTypeOf(withHandoffs).returns.resolves.toEqualTypeOf<Receiver>();
  expectTypeOf(withDatagrams).returns.resolves.toEqualTypeOf<DatagramReceiver>();
  expectTypeOf(bare).returns.resolves.toEqualTypeOf<Receiver>();
  // @ts-expect-error datagrams are not acknowledged: there is no window
  const nothing = () => attach(server, { path: "/a", protocol: "datagram", window: 64 });
  // @ts-expect-error neither a server
  const nobody = () => attach(new net.Socket(), { path: "/a" });
  expect([nothing, nobody]).toHaveLength(2);
});

it("a receiver's events", () => {
  const listen = (receiver: Receiver) =>
    receiver
      .on("ready", () => {})
      .on("peer", ({ pid, uid, gid }) => expectTypeOf([pid, uid, gid]).toEqualTypeOf<number[]>())
      .on("refused", ({ reason, peer }) => {
        expectTypeOf(reason).toEqualTypeOf<"no descriptor" | "not tcp" | "overloaded" | "draining">();
        expectTypeOf(peer.pid).toBeNumber();
      })
      .on("warning", (error) => expectTypeOf(error).toEqualTypeOf<PeerError | SystemCallError>())
      .on("drained", () => {})
      .on("idle", () => {});
  expectTypeOf(listen).returns.toEqualTypeOf<Receiver>();
  // @ts-expect-error an event that there is not
  const wrong = (receiver: Receiver) => receiver.on("connection", () => {});
  expect(wrong).toBeTypeOf("function");
});

it("handoffInfo of whatever carries a connection", () => {
  expectTypeOf(handoffInfo).returns.toEqualTypeOf<HandoffInfo | undefined>();
  type Carrier = net.Socket | TLSSocket | http.IncomingMessage | ServerHttp2Stream | ServerHttp2Session;
  expectTypeOf<Carrier>().toExtend<Parameters<typeof handoffInfo>[0]>();
  expectTypeOf<HandoffInfo["connectionId"]>().toEqualTypeOf<bigint>();
  expectTypeOf<HandoffInfo["serverName"]>().toEqualTypeOf<string | undefined>();
  expectTypeOf<HandoffInfo["client"]>().toEqualTypeOf<Address | undefined>();
});

it("guard and drainOnSignal", () => {
  expectTypeOf(drainOnSignal)
    .parameter(0)
    .toEqualTypeOf<Receiver | DatagramReceiver | readonly (Receiver | DatagramReceiver)[]>();
  expectTypeOf<DrainOptions["signals"]>().toEqualTypeOf<readonly NodeJS.Signals[] | undefined>();
  expectTypeOf(drainOnSignal).returns.toEqualTypeOf<() => void>();
  expectTypeOf(guard).parameter(0).toEqualTypeOf<net.Server>();
});

it("errors have codes that the compiler knows", () => {
  const error = new HandoffError("ERR_PATH_IN_USE", "taken");
  expectTypeOf<"ERR_PATH_IN_USE">().toExtend<typeof error.code>();
  // @ts-expect-error no such code
  expect(error.code === "ERR_TYPO").toBe(false);
});
