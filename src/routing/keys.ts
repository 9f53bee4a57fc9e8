/** All routes of a compiled table, one after another: for the control plane, which compares tables. */

import { Header, KEY_HEADER_BYTES, keysOffset } from "./layout.js";
import { RouteTable } from "./table.js";

const decoder = new TextDecoder("latin1");

/** Stands on one key at a time, in the order in which they were added, and makes no object for it. */
export class KeyCursor {
  /** The region's bytes; the key that the cursor stands on is in [start, end), as `RouteTable.findKey` takes it. */
  readonly bytes: Uint8Array;
  start = 0;
  end = 0;
  target = -1;
  #next: number;
  readonly #limit: number;

  /** Before the first key of a region that `RouteTableBuilder.finish` returned. */
  constructor(region: SharedArrayBuffer) {
    this.#limit = new RouteTable(region).bytes;
    this.bytes = new Uint8Array(region);
    this.#next = keysOffset(new Int32Array(region, 0, Header.SLOT_COUNT + 1)[Header.SLOT_COUNT]!);
  }

  /** Goes to the next key; false if there is none. */
  next(): boolean {
    const { bytes } = this;
    const key = this.#next;
    if (key >= this.#limit) return false;
    this.start = key + KEY_HEADER_BYTES;
    this.end = this.start + bytes[key];
    this.target = bytes[key + 1] | (bytes[key + 2] << 8) | (bytes[key + 3] << 16);
    this.#next = this.end;
    return true;
  }

  /** As configured: "app.example.com", "*.example.com". */
  get pattern(): string {
    const key = decoder.decode(this.bytes.slice(this.start, this.end));
    return key.startsWith(".") ? `*${key}` : key;
  }
}
