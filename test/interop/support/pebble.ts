/** A certificate authority for tests: Let's Encrypt's Pebble, with a DNS server that says 127.0.0.1 to every question. */
import { Resolver } from "node:dns/promises";
import { writeFileSync } from "node:fs";
import { get, type RequestOptions } from "node:https";
import { join } from "node:path";
import { certificate } from "../../support/certificates.js";
import { Child } from "../../support/child.js";
import { until } from "../../support/wait.js";
import { freePort } from "./free-port.js";
import { peer } from "./peers.js";

export class Pebble {
  /** The ACME directory. */
  readonly directory: string;
  /** A file with the certificate of Pebble's own HTTPS, for ACME clients. */
  readonly certificateFile: string;
  private readonly management: string;
  private readonly ca: string;
  private readonly dns: Child;
  private readonly authority: Child;

  private constructor(
    port: number,
    management: number,
    file: { name: string; text: string },
    children: readonly [dns: Child, authority: Child],
  ) {
    this.directory = `https://localhost:${port}/dir`;
    this.management = `https://localhost:${management}`;
    this.certificateFile = file.name;
    this.ca = file.text;
    [this.dns, this.authority] = children;
  }

  /** It checks http-01 at port `http` and tls-alpn-01 at port `tls` of whatever name. */
  static async start(folder: string, { http, tls }: { http: number; tls: number }): Promise<Pebble> {
    const [port, management, dns, dnsManagement] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
    const own = await certificate("localhost");
    const at = (name: string) => join(folder, `pebble-${name}`);
    writeFileSync(at("cert.pem"), own.cert);
    writeFileSync(at("key.pem"), own.key, { mode: 0o600 });
    const settings = {
      listenAddress: `127.0.0.1:${port}`,
      managementListenAddress: `127.0.0.1:${management}`,
      certificate: at("cert.pem"),
      privateKey: at("key.pem"),
      httpPort: http,
      tlsPort: tls,
      profiles: { default: { description: "The one", validityPeriod: 7_776_000 } },
    };
    writeFileSync(at("config.json"), JSON.stringify({ pebble: settings }));
    const none = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv6", ""];
    const children = [
      new Child(peer("pebble-challtestsrv"), [
        ...["-dnsserver", `127.0.0.1:${dns}`, "-management", `127.0.0.1:${dnsManagement}`, ...none],
      ]),
      new Child(peer("pebble"), ["-config", at("config.json"), "-dnsserver", `127.0.0.1:${dns}`, "-strict"], {
        // It likes to wait for some seconds before it looks.
        env: { ...process.env, PEBBLE_VA_NOSLEEP: "1" },
      }),
    ] as const;
    const pebble = new Pebble(port, management, { name: at("cert.pem"), text: own.cert }, children);
    const answers = <T>(what: string, ask: () => Promise<T>) =>
      until(`${what} to answer`, () =>
        ask().catch((error) => {
          if (!children.every(({ running }) => running)) throw new Error(pebble.said);
          // The DNS server has answers a moment after it listens.
          if (!["ECONNREFUSED", "ENODATA"].includes(error.code)) throw error;
          return undefined;
        }),
      );
    const resolver = new Resolver();
    resolver.setServers([`127.0.0.1:${dns}`]);
    try {
      await answers("Pebble", () => pebble.fetch(pebble.directory));
      await answers("its DNS server", () => resolver.resolve4("app.test"));
    } catch (error) {
      await pebble.end();
      throw error;
    }
    return pebble;
  }

  /** The certificate that all those which it issues lead to. */
  root(): Promise<string> {
    return this.fetch(`${this.management}/roots/0`);
  }

  /** What it wrote. */
  get said(): string {
    return [this.dns, this.authority].map(({ lines, stderr }) => `${lines.join("\n")}${stderr}`).join("\n");
  }

  async end(): Promise<void> {
    await Promise.all([this.dns, this.authority].map((child) => child.end("SIGTERM")));
  }

  private fetch(url: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const options: RequestOptions = {
        ca: this.ca,
        agent: false,
        headers: { "user-agent": "sni-handoff's tests" }, // RFC 8555 §6.1
        lookup: (_, options, done) => loopback(options, done),
      };
      get(url, options, (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (data) => {
          text += data;
        });
        response.on("end", () => {
          if (response.statusCode === 200) resolve(text);
          else reject(new Error(`${url}: ${response.statusCode} ${text}`));
        });
      }).on("error", reject);
    });
  }
}

/** "localhost" is IPv4 here, whatever hosts(5) says. */
function loopback(options: { all?: boolean | undefined }, done: (...result: never[]) => void): void {
  const answer = options.all ? [[{ address: "127.0.0.1", family: 4 }]] : ["127.0.0.1", 4];
  done(...([null, ...answer] as never[]));
}
