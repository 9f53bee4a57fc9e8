/** What a client says, and what counts as the server's answer. */
import type { Duplex } from "node:stream";
import { connect, type TLSSocket } from "node:tls";
import { Flag } from "../handoff/layout.js";

export const probeKinds = ["tls", "http", "echo"] as const;
/**
 * `tls`: a handshake, complete (certificates are not checked: whose they are is no matter here). `http`: GET / in the
 * clear, and the head of any response. `echo`: a line that comes back.
 */
export type ProbeKind = (typeof probeKinds)[number];

export interface Probe {
  /** Undefined as long as nothing has come, then "answered", or what happened instead. */
  readonly answer: string | undefined;
  /** The client takes its leave. */
  end(): void;
}

/** FLAGS of a HANDOFF whose client begins so. */
export const flagsOf: Readonly<Record<ProbeKind, number>> = { tls: Flag.TLS, http: Flag.HTTP, echo: 0 };

export function beginProbe(kind: ProbeKind, client: Duplex, serverName: string): Probe {
  return new { tls: TlsProbe, http: HttpProbe, echo: EchoProbe }[kind](client, serverName);
}

abstract class BaseProbe implements Probe {
  answer: string | undefined;
  protected readonly client: Duplex;

  constructor(client: Duplex) {
    this.client = client;
    client.on("error", (error) => this.conclude(error.message));
    client.on("close", () => this.conclude("the connection was closed without an answer"));
  }

  protected conclude(answer: string): void {
    this.answer ??= answer;
  }

  end(): void {
    this.client.end();
  }
}

class TlsProbe extends BaseProbe {
  private readonly secure: TLSSocket;

  constructor(client: Duplex, serverName: string) {
    super(client);
    this.secure = connect({ socket: client, servername: serverName, rejectUnauthorized: false });
    this.secure.once("secureConnect", () => this.conclude("answered"));
    this.secure.on("error", (error) => this.conclude(error.message));
    this.secure.on("close", () => this.conclude("the connection was closed before the TLS handshake was complete"));
    this.secure.resume();
  }

  override end(): void {
    this.secure.end();
  }
}

class HttpProbe extends BaseProbe {
  constructor(client: Duplex, serverName: string) {
    super(client);
    let text = "";
    client.on("data", (data) => {
      text = (text + data.toString("latin1")).slice(0, 64);
      if (/^HTTP\/1\.[01] \d{3}/.test(text)) this.conclude("answered");
      else if (text.length > 12) this.conclude(`no HTTP response: ${JSON.stringify(text)}`);
    });
    client.write(`GET / HTTP/1.1\r\nHost: ${serverName}\r\nConnection: close\r\n\r\n`);
  }
}

let line = 0;

class EchoProbe extends BaseProbe {
  constructor(client: Duplex) {
    super(client);
    const sent = `line ${++line} of sni-handoff conform\n`;
    let text = "";
    client.on("data", (data) => {
      text += data.toString("latin1");
      if (text === sent) this.conclude("answered");
      else if (!sent.startsWith(text)) this.conclude(`no echo: ${JSON.stringify(text.slice(0, 64))}`);
    });
    client.write(sent);
  }
}
