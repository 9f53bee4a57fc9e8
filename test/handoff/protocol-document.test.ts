import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { ADDRESS_BYTES, readAddress } from "../../src/addresses.js";
import { FieldType, HEADER_LENGTH, MAX_MESSAGE_LENGTH, MAX_WINDOW, MessageType } from "../../src/handoff/layout.js";
import {
  encodeAck,
  encodeDrain,
  encodeHandoff,
  encodeReady,
  encodeRefuse,
  encodeRevoke,
  Message,
  unpackAddress,
} from "../../src/handoff/message.js";
import { handoffBytes, withField } from "../support/fake-door.js";

const text = readFileSync(new URL("../../src/handoff/PROTOCOL.md", import.meta.url), "utf8");

/** The rows of the table whose header begins with these cells. */
function table(...header: string[]): string[][] {
  const rows = text.split("\n").map((line) =>
    line.startsWith("|")
      ? line
          .split("|")
          .slice(1, -1)
          .map((cell) => cell.trim())
      : [],
  );
  const start = rows.findIndex((row) => row.length > 0 && header.every((cell, i) => row[i] === cell));
  const rest = rows.slice(start + 2);
  return rest.slice(0, rest.indexOf(rest.find((row) => row.length === 0)!));
}

function example(name: string): Uint8Array {
  const [, hex] = new RegExp(`\`\`\`hex ${name}\n([^\`]*)\`\`\``).exec(text)!;
  return Buffer.from(hex!.replace(/#.*$/gm, "").replace(/\s/g, ""), "hex");
}

function decode(bytes: Uint8Array): Message {
  const message = new Message();
  expect(message.decode(bytes, 0, bytes.length)).toBeUndefined();
  return message;
}

function encoded(encode: (target: Uint8Array) => number): string {
  const target = new Uint8Array(MAX_MESSAGE_LENGTH);
  return Buffer.from(target.subarray(0, encode(target))).toString("hex");
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describe("the tables of PROTOCOL.md are the constants of layout.ts", () => {
  it("message types", () => {
    const rows = table("type", "message", "from").map(([type, name]) => [name, Number(type)]);
    expect(Object.fromEntries(rows)).toEqual(MessageType);
  });

  it("field types", () => {
    const rows = table("field", "name", "value").map(([type, name]) => [name, Number(type)]);
    expect(Object.fromEntries(rows)).toEqual(FieldType);
  });

  it("reasons of refusal", () => {
    const reasons = table("field", "name", "value").find(([, name]) => name === "REASON")![2];
    expect(reasons).toBe("u8: 1 no descriptor, 2 not TCP, 3 overloaded, 4 draining");
  });

  it("the header's and the messages' sizes, and the window", () => {
    const header = table("offset", "size", "header");
    const [offset, size] = header.at(-1)!;
    expect(Number(offset) + Number(size!.slice(1)) / 8).toBe(HEADER_LENGTH);
    expect(text).toContain(`at most ${MAX_MESSAGE_LENGTH} bytes`);
    expect(text).toContain(`u16, 1..${MAX_WINDOW}:`);
  });
});

describe("the examples of PROTOCOL.md decode to what it says, and encoding gives the same bytes", () => {
  it("READY", () => {
    const bytes = example("ready");
    const message = decode(bytes);
    expect(message).toMatchObject({ type: MessageType.READY, sequence: 0, lowestVersion: 1, highestVersion: 1 });
    expect(message).toMatchObject({ window: 64, weight: 1, open: 3 });
    expect(encoded((target) => encodeReady(target, 0, { window: 64, weight: 1, open: 3 }))).toBe(hex(bytes));
  });

  it("HANDOFF; an encoder writes addresses only with CONSUMED", () => {
    const bytes = example("handoff");
    const message = decode(bytes);
    expect(message).toMatchObject({ type: MessageType.HANDOFF, sequence: 7, flags: 1 });
    expect([message.connectionIdHigh, message.connectionIdLow]).toEqual([1, 0x2a]);
    const at = (BigInt(message.acceptedAtHigh) << 32n) | BigInt(message.acceptedAtLow);
    expect(at).toBe(1589000000000000000n);
    const name = Buffer.from(bytes).toString("latin1", message.nameStart, message.nameStart + message.nameLength);
    expect(name).toBe("app.example.com");
    const alpn = Buffer.from(bytes).toString("latin1", message.alpnStart, message.alpnStart + message.alpnLength);
    expect(alpn).toBe("h2");
    const address = bytes.slice(message.clientAddressStart, message.clientAddressStart + message.clientAddressLength);
    expect(Buffer.from(address).readUInt16LE(0)).toBe(12345);
    expect([...address.slice(2)]).toEqual([192, 0, 2, 1]);

    const target = new Uint8Array(MAX_MESSAGE_LENGTH);
    const end = encodeHandoff(target, 0, {
      sequence: 7,
      connectionIdLow: 0x2a,
      connectionIdHigh: 1,
      acceptedAtLow: message.acceptedAtLow,
      acceptedAtHigh: message.acceptedAtHigh,
      flags: 1,
      helloDeadlineLow: 0,
      helloDeadlineHigh: 0,
      name: Buffer.from("app.example.com"),
      nameStart: 0,
      nameLength: 15,
      alpn: Buffer.from("h2"),
      alpnStart: 0,
      alpnLength: 2,
      consumed: 0,
      client: new Uint8Array(20),
      clientStart: 0,
      server: new Uint8Array(20),
      serverStart: 0,
    });
    expect(hex(withField(target.slice(0, end), FieldType.CLIENT_ADDRESS, address))).toBe(hex(bytes));
  });

  it("HANDOFF behind a PROXY header", () => {
    const bytes = example("handoff-proxied");
    const message = decode(bytes);
    expect(message).toMatchObject({ type: MessageType.HANDOFF, sequence: 8, flags: 0, consumed: 52 });
    expect(message).toMatchObject({ nameLength: 0, alpnLength: 0, clientAddressLength: 18, serverAddressLength: 6 });
    const packed = new Uint8Array(2 * ADDRESS_BYTES);
    unpackAddress(bytes, message.clientAddressStart, message.clientAddressLength, packed, 0);
    unpackAddress(bytes, message.serverAddressStart, message.serverAddressLength, packed, ADDRESS_BYTES);
    expect(readAddress(packed, 0)).toEqual({ family: "IPv6", address: "2001:db8::1", port: 56324 });
    expect(readAddress(packed, ADDRESS_BYTES)).toEqual({ family: "IPv4", address: "198.51.100.7", port: 443 });

    const [client, server] = [packed.slice(0, ADDRESS_BYTES), packed.slice(ADDRESS_BYTES)];
    const told = { sequence: 8, connectionId: 0x10000002bn, acceptedAt: 1589000000000000000n, consumed: 52 };
    expect(hex(handoffBytes({ ...told, client, server }))).toBe(hex(bytes));
    // LOCAL and UNKNOWN tell no addresses.
    const local = decode(handoffBytes(told));
    expect(local).toMatchObject({ consumed: 52, clientAddressLength: 0, serverAddressLength: 0 });
  });

  it("ACK", () => {
    expect(decode(example("ack"))).toMatchObject({ type: MessageType.ACK, sequence: 7, open: 4 });
    expect(encoded((target) => encodeAck(target, 0, 7, 4))).toBe(hex(example("ack")));
  });

  it("REFUSE", () => {
    expect(decode(example("refuse"))).toMatchObject({ type: MessageType.REFUSE, sequence: 8, reason: 3 });
    expect(encoded((target) => encodeRefuse(target, 0, 8, 3))).toBe(hex(example("refuse")));
  });

  it("REVOKE", () => {
    expect(decode(example("revoke"))).toMatchObject({ type: MessageType.REVOKE, sequence: 7 });
    expect(encoded((target) => encodeRevoke(target, 0, 7))).toBe(hex(example("revoke")));
  });

  it("DRAIN", () => {
    expect(decode(example("drain"))).toMatchObject({ type: MessageType.DRAIN, sequence: 0 });
    expect(encoded((target) => encodeDrain(target, 0))).toBe(hex(example("drain")));
  });
});
