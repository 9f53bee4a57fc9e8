/** TLS across handed-over connections: certificates by name, and sessions that another instance resumes. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import * as https from "node:https";
import type { Server } from "node:net";
import * as tls from "node:tls";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { attach } from "../../src/backend/index.js";
import type { Receiver } from "../../src/handoff/receiver.js";
import { body } from "../support/body.js";
import { Bridge } from "../support/bridge.js";
import { type Certificate, certificate } from "../support/certificates.js";
import { Folder } from "../support/folder.js";

const folder = new Folder();
const bridges: Bridge[] = [];
const receivers: Receiver[] = [];
let count = 0;
let own: Certificate;
let other: Certificate;

beforeAll(async () => {
  [own, other] = await Promise.all([certificate("app.example"), certificate("other.example")]);
});

afterEach(async () => {
  for (const bridge of bridges.splice(0)) bridge.close();
  await Promise.all(receivers.splice(0).map((receiver) => receiver.close({ timeout: 0 })));
});

async function attached(server: Server): Promise<Bridge> {
  const path = folder.at(`${count++}.sock`);
  receivers.push(await attach(server, { path }));
  const bridge = await Bridge.open(path);
  bridges.push(bridge);
  return bridge;
}

interface Visit {
  readonly certificate: string;
  readonly resumed: boolean;
  readonly text: string;
  /** For the next visit. */
  readonly session: Buffer;
}

/** A connection that is read to its end. */
async function visit(bridge: Bridge, options: tls.ConnectionOptions = {}): Promise<Visit> {
  const client = tls.connect({
    ...{ port: bridge.port, host: "127.0.0.1", servername: own.name, ca: [own.cert, other.cert] },
    ...options,
  });
  let session = Buffer.alloc(0);
  client.on("session", (ticket) => {
    session = ticket;
  });
  // Known while it is open.
  const secure = once(client, "secureConnect").then(() => ({
    certificate: client.getPeerCertificate().fingerprint256,
    resumed: client.isSessionReused(),
  }));
  const text = body(client);
  await bridge.deliver();
  return { ...(await secure), text: await text, session };
}

const answer = (socket: tls.TLSSocket) => socket.end("hello");

it("SNICallback chooses the certificate", async () => {
  const contexts = new Map([own, other].map((each) => [each.name, tls.createSecureContext(each)]));
  const asked: string[] = [];
  const options: tls.TlsOptions = {
    SNICallback: (name, callback) => {
      asked.push(name);
      setImmediate(() => callback(null, contexts.get(name)));
    },
  };
  const bridge = await attached(tls.createServer(options, answer));
  for (const each of [other, own]) {
    expect(await visit(bridge, { servername: each.name })).toMatchObject({
      certificate: each.fingerprint,
      text: "hello",
    });
  }
  expect(asked).toEqual([other.name, own.name]);
});

it("addContext too, and ALPN is chosen", async () => {
  const server = https.createServer({ cert: own.cert, key: own.key, ALPNProtocols: ["http/1.1"] });
  server.addContext(other.name, other);
  const seen: unknown[] = [];
  server.on("secureConnection", (socket: tls.TLSSocket) => {
    seen.push(socket.servername, socket.alpnProtocol);
    socket.end("bye");
  });
  const bridge = await attached(server);
  const { certificate: shown } = await visit(bridge, { servername: other.name, ALPNProtocols: ["h3", "http/1.1"] });
  expect(shown).toBe(other.fingerprint);
  expect(seen).toEqual([other.name, "http/1.1"]);
});

describe.each(["TLSv1.2", "TLSv1.3"] as const)("sessions of %s", (version) => {
  const sessionIdContext = "app";
  const versions = { minVersion: version, maxVersion: version } as const;
  const instance = (options: tls.TlsOptions = {}) =>
    attached(tls.createServer({ ...versions, cert: own.cert, key: own.key, sessionIdContext, ...options }, answer));

  it("are resumed by the instance that they are of", async () => {
    const bridge = await instance();
    const { session, resumed } = await visit(bridge);
    expect(resumed).toBe(false);
    expect(await visit(bridge, { session })).toMatchObject({ resumed: true, text: "hello" });
  });

  it("are resumed by another instance that has the same ticket keys, and only by such a one", async () => {
    const ticketKeys = randomBytes(48);
    const [first, second, stranger, renamed] = [
      await instance({ ticketKeys }),
      await instance({ ticketKeys }),
      await instance(),
      await instance({ ticketKeys, sessionIdContext: "another program" }),
    ];
    const { session } = await visit(first);
    expect(await visit(second, { session })).toMatchObject({ resumed: true, text: "hello" });
    expect(await visit(stranger, { session })).toMatchObject({ resumed: false, text: "hello" });
    expect((await visit(renamed, { session }).catch(() => ({ resumed: false }))).resumed).toBe(false);
  });

  it("are resumed after both instances have changed their keys, once they have the new ones", async () => {
    const servers = [0, 1].map(() =>
      tls.createServer({ ...versions, cert: own.cert, key: own.key, sessionIdContext }, answer),
    );
    const [first, second] = [await attached(servers[0]!), await attached(servers[1]!)];
    const old = await visit(first);
    const fresh = randomBytes(48);
    for (const server of servers) server.setTicketKeys(fresh);
    expect(await visit(second, { session: old.session })).toMatchObject({ resumed: false, text: "hello" });
    const { session } = await visit(first);
    expect(await visit(second, { session })).toMatchObject({ resumed: true, text: "hello" });
  });
});
