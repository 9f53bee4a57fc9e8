import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { writeAddress } from "../../src/addresses.js";
import { Flag } from "../../src/handoff/layout.js";
import { parseProxyHeader } from "../../src/proxy-protocol/index.js";
import type { Told } from "../support/fake-door.js";
import { Origin } from "../support/origin.js";
import { RawClient } from "../support/raw-client.js";
import { RelayPlane } from "../support/relay-plane.js";
import { until } from "../support/wait.js";

let plane: RelayPlane;
let origin: Origin;
let client: RawClient;
let arrived: Buffer;

beforeEach(async () => {
  plane = new RelayPlane();
  arrived = Buffer.alloc(0);
  origin = await Origin.start((socket) => {
    socket.on("data", (data) => {
      arrived = Buffer.concat([arrived, data]);
    });
  });
});

afterEach(async () => {
  client.close();
  await origin.close();
  await plane.end();
});

/** What the target gets first of a client that says "hello". */
async function headerOf(proxyProtocol: "v1" | "v2", told: Told): Promise<Buffer> {
  await plane.start([{ name: "app", targets: [origin.target], proxyProtocol }]);
  client = await RawClient.connect(plane.port);
  client.send(Buffer.from("hello"));
  await plane.handOver("app", told);
  await until("the hello", () => arrived.subarray(-5).toString() === "hello");
  return arrived.subarray(0, -5);
}

function packed(family: "IPv4" | "IPv6", address: string, port: number): Uint8Array {
  const bytes = new Uint8Array(20);
  writeAddress({ family, address, port }, bytes, 0);
  return bytes;
}

describe("the header that a target gets first", () => {
  test("version 1 has the connection's own addresses", async () => {
    const header = await headerOf("v1", {});
    const { localPort } = client.socket;
    expect(header.toString()).toBe(`PROXY TCP4 127.0.0.1 127.0.0.1 ${localPort} ${plane.port}\r\n`);
  });

  test("version 1 has those that the door was told", async () => {
    const told = {
      consumed: 50,
      client: packed("IPv4", "192.0.2.7", 51234),
      server: packed("IPv4", "198.51.100.1", 443),
    };
    expect((await headerOf("v1", told)).toString()).toBe("PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n");
  });

  test("version 2 has the server name, the protocol and the connection's id too", async () => {
    const told = {
      flags: Flag.TLS,
      name: "app.example.com",
      alpn: "h2",
      connectionId: 0x0102030405060708n,
      consumed: 50,
      client: packed("IPv6", "2001:db8::7", 51234),
      server: packed("IPv6", "2001:db8::1", 443),
    };
    const id = 0x0102030405060708n.toString();
    const tlv = (type: number, value: string) =>
      Buffer.concat([Buffer.from([type, 0, value.length]), Buffer.from(value)]);
    const addresses = Buffer.from(
      "20010db8000000000000000000000007 20010db8000000000000000000000001 c822 01bb".replaceAll(" ", ""),
      "hex",
    );
    const rest = Buffer.concat([addresses, tlv(0x01, "h2"), tlv(0x02, "app.example.com"), tlv(0x05, id)]);
    const start = Buffer.from("0d0a0d0a000d0a515549540a21210000", "hex");
    start.writeUInt16BE(rest.length, 14);
    expect((await headerOf("v2", told)).toString("hex")).toBe(Buffer.concat([start, rest]).toString("hex"));
  });

  test("is not counted as the client's bytes, and is read back by this project's own reader", async () => {
    const header = await headerOf("v2", { name: "a.test" });
    expect(parseProxyHeader(header)).toMatchObject({
      status: "done",
      version: 2,
      length: header.length,
      local: false,
      source: { family: "IPv4", address: "127.0.0.1", port: client.socket.localPort },
      destination: { family: "IPv4", address: "127.0.0.1", port: plane.port },
    });
    await until("the hello to be counted", () => plane.targets[0]!.bytes_to_target === 5);
  });
});
