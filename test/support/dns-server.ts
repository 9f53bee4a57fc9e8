/** A DNS server on loopback that knows a few names: RFC 1035 §4, questions for A and AAAA over UDP. */
import { createSocket, type Socket } from "node:dgram";
import { isIPv6 } from "node:net";

export interface Answered {
  readonly addresses: readonly string[];
  /** Seconds. */
  readonly ttl?: number;
}

const A = 1;
const AAAA = 28;
const SERVFAIL = 2;
const NXDOMAIN = 3;

export class DnsServer {
  private readonly socket: Socket;
  /** "fail": SERVFAIL; "silent": no answer; not there: NXDOMAIN. */
  readonly names: Map<string, Answered | "fail" | "silent"> = new Map();
  /** Names that were asked for, once for each question: one that is sent again, since its answer was late, is the same. */
  readonly asked: string[] = [];
  private readonly questions: Set<string> = new Set();

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("message", (question, { port, address }) => {
      const answer = this.answer(question);
      if (answer !== undefined) socket.send(answer, port, address);
    });
  }

  static async start(): Promise<DnsServer> {
    const socket = createSocket("udp4");
    await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
    return new DnsServer(socket);
  }

  get port(): number {
    return this.socket.address().port;
  }

  close(): void {
    this.socket.close();
  }

  private answer(question: Buffer): Buffer | undefined {
    const labels: string[] = [];
    let at = 12;
    for (let length = question[at]!; length > 0; length = question[at]!) {
      labels.push(question.toString("latin1", at + 1, at + 1 + length));
      at += 1 + length;
    }
    const end = at + 5;
    const type = question.readUInt16BE(at + 1);
    const name = labels.join(".").toLowerCase();
    const same = `${question.readUInt16BE(0)} ${type} ${name}`;
    if (!this.questions.has(same)) this.asked.push(name);
    this.questions.add(same);
    const known = this.names.get(name);
    if (known === "silent") return undefined;
    const failure = known === "fail" ? SERVFAIL : known === undefined ? NXDOMAIN : 0;
    const records =
      typeof known === "object"
        ? known.addresses
            .filter((each) => type === (isIPv6(each) ? AAAA : A))
            .map((each) => record(each, known.ttl ?? 60))
        : [];
    const head = Buffer.alloc(12);
    question.copy(head, 0, 0, 2);
    head.writeUInt16BE(0x8180 | failure, 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(records.length, 6);
    return Buffer.concat([head, question.subarray(12, end), ...records]);
  }
}

/** The owner is the question's name, by a pointer. */
function record(address: string, ttl: number): Buffer {
  const data = bytesOf(address);
  const head = Buffer.alloc(12);
  head.writeUInt16BE(0xc00c, 0);
  head.writeUInt16BE(data.length === 4 ? A : AAAA, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt32BE(ttl, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

function bytesOf(address: string): Buffer {
  if (!isIPv6(address)) return Buffer.from(address.split(".").map(Number));
  const [left = "", right] = address.split("::");
  const words = (text: string) => (text === "" ? [] : text.split(":").map((word) => Number.parseInt(word, 16)));
  const head = words(left);
  const tail = right === undefined ? [] : words(right);
  const bytes = Buffer.alloc(16);
  for (const [i, word] of head.entries()) bytes.writeUInt16BE(word, 2 * i);
  for (const [i, word] of tail.entries()) bytes.writeUInt16BE(word, 16 - 2 * (tail.length - i));
  return bytes;
}
