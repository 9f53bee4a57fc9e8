import { Duplex } from "node:stream";
import { createSecureContext, TLSSocket } from "node:tls";
import { describe, expect, test } from "vitest";
import { parseClientHello } from "../../src/tls/index.js";
import {
  browserHello,
  buildHello,
  extension,
  postQuantumHello,
  serverNameExtension,
  vector16,
} from "./hello-builder.js";
import { vectors } from "./vectors.js";

/**
 * The backend reads the same hello with its own library. If that saw another name than we do, a client could be routed
 * by one name and served by the other.
 */
const context = createSecureContext({ ciphers: "ALL:@SECLEVEL=0", minVersion: "TLSv1" });

/** The name that OpenSSL, inside Node's TLS server, finds: undefined if it finds none or refuses the hello. */
function nameByOpenssl(hello: Uint8Array): Promise<string | undefined> {
  return new Promise((resolve) => {
    const wire = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done(), final: (done) => done() });
    const server = new TLSSocket(wire, {
      isServer: true,
      secureContext: context,
      SNICallback: (name, callback) => {
        resolve(name);
        callback(new Error("seen"));
      },
    });
    server.on("error", () => resolve(undefined));
    server.on("close", () => resolve(undefined));
    wire.push(hello);
    wire.push(null);
  });
}

async function expectAgreement(hello: Uint8Array): Promise<string | undefined> {
  const ours = parseClientHello(hello);
  // Where we refuse, no backend is asked; where they refuse, no one is served.
  if (ours.status !== "done") return undefined;
  const theirs = await nameByOpenssl(hello);
  if (theirs === undefined) return undefined;
  if (ours.serverName === undefined) expect(ours.ipLiteral, theirs).toBe(true);
  else expect(theirs.toLowerCase().replace(/\.$/, "")).toBe(ours.serverName);
  return theirs;
}

const named = vectors.filter(({ bytes }) => {
  const hello = parseClientHello(bytes);
  return hello.status === "done" && hello.serverName !== undefined;
});

describe("OpenSSL and we find the same name", () => {
  test.each(named)("in the hello of $name", async ({ bytes }) => {
    expect(await expectAgreement(bytes)).toBeDefined();
  });

  test("in what the builder makes", async () => {
    for (const hello of [browserHello("a.example"), postQuantumHello("a.example")]) {
      expect(await expectAgreement(hello)).toBe("a.example");
    }
  });

  test("or one of us refuses: two lists, two names, names of other types, empty ones, NUL", async () => {
    const list = [
      [serverNameExtension("a.example"), serverNameExtension("b.example")],
      [serverNameExtension([{ name: "a.example" }, { name: "b.example" }])],
      [serverNameExtension([{ type: 1, name: "a.example" }, { name: "b.example" }])],
      [serverNameExtension([{ name: "a.example" }, { type: 1, name: "b.example" }])],
      [serverNameExtension("a.example\x00b.example")],
      [serverNameExtension("")],
      [extension(0)],
      [extension(0, vector16())],
      [extension(0, [...vector16([0, 0, 1, 0x61]), 0, 0, 1, 0x62])],
    ];
    for (const extensions of list) {
      for (const more of [[], [extension(13, vector16([4, 3])), extension(10, vector16([0, 23]))]]) {
        const hello = buildHello({ cipherSuites: [0xc02b, 0x1301], extensions: [...extensions, ...more] });
        await expectAgreement(hello);
      }
    }
  });

  test("or one of us refuses: every byte around the name changed, and every byte of the headers", async () => {
    const { bytes } = vectors.find((vector) => vector.name === "curl-tls12")!;
    const name = Buffer.from(bytes).indexOf("www.example.com");
    let found = 0;
    for (let at = 0; at < name + 24; at++) {
      for (const value of [0, 1, 0x2e, 0xff, bytes[at] ^ 1, bytes[at] + 1, bytes[at] - 1]) {
        const changed = Uint8Array.from(bytes);
        changed[at] = value;
        if ((await expectAgreement(changed)) !== undefined) found++;
      }
    }
    expect(found).toBeGreaterThan(200);
  });
});
