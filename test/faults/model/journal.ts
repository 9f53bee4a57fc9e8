/** What the instances have written down: who has which connection, and what was answered on it. */
import { closeSync, openSync, readSync } from "node:fs";

export interface Owned {
  readonly pid: number;
  readonly backend: string;
  readonly time: number;
}

export interface Answered extends Owned {
  /** Of the request. */
  readonly number: number;
}

/** Of one client's address. */
export interface Record {
  readonly owned: Owned[];
  readonly answered: Answered[];
}

export class Journal {
  readonly path: string;
  private readonly descriptor: number;
  private readonly records: Map<string, Record> = new Map();
  private rest: string = "";

  constructor(path: string) {
    this.path = path;
    this.descriptor = openSync(path, "a+");
  }

  /** Reads what has come. */
  read(): void {
    const bytes = Buffer.alloc(1 << 16);
    for (let count = this.more(bytes); count > 0; count = this.more(bytes)) {
      const lines = (this.rest + bytes.toString("latin1", 0, count)).split("\n");
      this.rest = lines.pop()!;
      for (const line of lines) this.take(line);
    }
  }

  of(client: string): Record {
    return this.records.get(client) ?? { owned: [], answered: [] };
  }

  /** What is judged is needed no more. */
  forget(client: string): void {
    this.records.delete(client);
  }

  close(): void {
    closeSync(this.descriptor);
  }

  private more(bytes: Buffer): number {
    return readSync(this.descriptor, bytes, 0, bytes.length, null);
  }

  private take(line: string): void {
    const [what, client, pid, backend, time, number] = line.split(" ") as [
      string,
      string,
      string,
      string,
      string,
      string?,
    ];
    const record = this.of(client);
    this.records.set(client, record);
    const owned = { pid: Number(pid), backend, time: Number(time) };
    if (what === "owned") record.owned.push(owned);
    else record.answered.push({ ...owned, number: Number(number) });
  }
}
