/**
 * Map files: for very many names, one "name backend" a line. Bytes in, routes into a builder; no string a line.
 *
 *     # comment
 *     shop.example.com      app      # so is this
 *     *.apps.example.com    pool
 *
 * Fields are parted by spaces and tabs; lines end in LF or CRLF; a byte order mark in front is skipped.
 */

import type { Problem } from "../errors.js";
import { BackendNames } from "./backend-names.js";
import type { RouteTableBuilder } from "./builder.js";
import { type Capacity, FIRST_RULES_TARGET } from "./layout.js";
import { MAX_NAME_LENGTH, nameFaultMessage, normaliseNameBytes, quote } from "./name.js";

const LF = 0x0a;
const CR = 0x0d;
const HASH = 0x23;
const SPACE = 0x20;
const TAB = 0x09;

/** Longest line, in bytes, that is not a comment. */
export const MAX_LINE_LENGTH = 4096;

/** As many errors, and as many warnings, are told in full; of more than these there is only the number. */
const MAX_PROBLEMS = 100;

export interface MapOptions {
  /** The file's name, for problems. */
  readonly file: string;
  /** Backend name -> target. */
  readonly backends: ReadonlyMap<string, number>;
  /** Where the routes go. */
  readonly builder: RouteTableBuilder;
}

// Without ignoreBOM a byte order mark is dropped, and the message would not show what is wrong.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

export class MapParser {
  /** Lines that cannot be used. A line's error never affects other lines. */
  readonly errors: Problem[] = [];
  /** Lines without effect: a name that already goes to this very backend. */
  readonly warnings: Problem[] = [];
  /** Lines with an error or a warning; more than `errors` and `warnings` list if there are very many. */
  errorCount = 0;
  warningCount = 0;
  /** Names that were added to the builder. */
  names = 0;

  readonly #options: MapOptions;
  readonly #backends: BackendNames;
  readonly #name = new Uint8Array(MAX_NAME_LENGTH);
  #line = 0;

  /** The beginning of a line whose end is in a later chunk. One byte more than a line may have tells "too long". */
  readonly #partial = new Uint8Array(MAX_LINE_LENGTH + 1);
  #partialLength = 0;

  constructor(options: MapOptions) {
    this.#options = options;
    this.#backends = new BackendNames(options.backends);
  }

  /** Takes the file's next bytes; chunks may end anywhere. */
  push(chunk: Uint8Array): void {
    const length = chunk.length;
    let start = 0;
    if (this.#partialLength > 0) {
      let end = 0;
      while (end < length && chunk[end] !== LF) end++;
      this.#keep(chunk, 0, end);
      if (end === length) return;
      this.#endPartial();
      start = end + 1;
    }
    for (let end = start; end < length; end++) {
      if (chunk[end] !== LF) continue;
      this.#parseLine(chunk, start, end);
      start = end + 1;
    }
    this.#keep(chunk, start, length);
  }

  /** The file has ended. */
  end(): void {
    if (this.#partialLength > 0) this.#endPartial();
    this.#summarise(this.errors, this.errorCount, "errors");
    this.#summarise(this.warnings, this.warningCount, "warnings");
  }

  /** Keeps bytes of an unfinished line, as many as matter. */
  #keep(chunk: Uint8Array, start: number, end: number): void {
    const room = this.#partial.length - this.#partialLength;
    const kept = chunk.subarray(start, Math.min(end, start + room));
    this.#partial.set(kept, this.#partialLength);
    this.#partialLength += kept.length;
  }

  #endPartial(): void {
    const length = this.#partialLength;
    this.#partialLength = 0;
    this.#parseLine(this.#partial, 0, length);
  }

  #parseLine(bytes: Uint8Array, lineStart: number, end: number): void {
    this.#line++;
    end = Math.min(end, lineStart + MAX_LINE_LENGTH + 1); // as much as is kept of a line in several chunks
    let start = lineStart;
    // UTF-8's byte order mark, which Windows editors put in front.
    if (this.#line === 1 && bytes[start] === 0xef && bytes[start + 1] === 0xbb && bytes[start + 2] === 0xbf) start += 3;
    start = skipBlanks(bytes, start, end);
    if (start < end && bytes[start] === HASH) return;
    if (end - lineStart > MAX_LINE_LENGTH) {
      this.#error(1, `the line is longer than ${MAX_LINE_LENGTH} bytes`);
      return;
    }
    if (end > start && bytes[end - 1] === CR) end--;
    if (start >= end) return;

    const nameEnd = fieldEnd(bytes, start, end);
    const backendStart = skipBlanks(bytes, nameEnd, end);
    const column = start - lineStart + 1;
    if (backendStart >= end || bytes[backendStart] === HASH) {
      this.#error(column, `found ${text(bytes, start, nameEnd)} without a backend: a line is "name backend"`);
      return;
    }
    const backendEnd = fieldEnd(bytes, backendStart, end);
    const rest = skipBlanks(bytes, backendEnd, end);
    if (rest < end && bytes[rest] !== HASH) {
      const found = text(bytes, rest, fieldEnd(bytes, rest, end));
      this.#error(rest - lineStart + 1, `found ${found} behind the backend: a line is "name backend"`);
      return;
    }
    this.#addRoute(bytes, start, nameEnd, backendStart, backendEnd, lineStart);
  }

  #addRoute(
    bytes: Uint8Array,
    start: number,
    nameEnd: number,
    backendStart: number,
    backendEnd: number,
    lineStart: number,
  ): void {
    const length = normaliseNameBytes(bytes, start, nameEnd, this.#name);
    if (typeof length !== "number") {
      this.#error(start - lineStart + 1, nameFaultMessage(length, decode(bytes, start, nameEnd)));
      return;
    }
    const target = this.#backends.find(bytes, backendStart, backendEnd);
    if (target === undefined) {
      this.#error(backendStart - lineStart + 1, this.#unknownBackend(decode(bytes, backendStart, backendEnd)));
      return;
    }
    const existing = this.#options.builder.addBytes(this.#name, 0, length, target);
    if (existing === undefined) {
      this.names++;
    } else if (existing === target) {
      this.#warning(start - lineStart + 1, `${text(this.#name, 0, length)} is routed to this backend already`);
    } else if (existing >= FIRST_RULES_TARGET) {
      this.#error(start - lineStart + 1, `${text(this.#name, 0, length)} has a route with rules already`);
    } else {
      const other = quote(this.#backendName(existing));
      this.#error(start - lineStart + 1, `${text(this.#name, 0, length)} is routed to backend ${other} already`);
    }
  }

  #unknownBackend(name: string): string {
    const { backends } = this.#options;
    if (name.endsWith(";") && backends.has(name.slice(0, -1))) {
      return `found backend ${quote(name)}: write it without the semicolon`;
    }
    const known = [...backends.keys()];
    const listed = known.slice(0, 8).map(quote).join(", ");
    const more = known.length > 8 ? ` and ${known.length - 8} more` : "";
    return `found backend ${quote(name)}, which is not configured; configured are ${listed || "none"}${more}`;
  }

  #backendName(target: number): string {
    for (const [name, index] of this.#options.backends) if (index === target) return name;
    return `number ${target}`;
  }

  #error(column: number, message: string): void {
    this.errorCount++;
    if (this.errorCount <= MAX_PROBLEMS) this.errors.push(this.#problem(column, message));
  }

  #warning(column: number, message: string): void {
    this.warningCount++;
    if (this.warningCount <= MAX_PROBLEMS) this.warnings.push(this.#problem(column, message));
  }

  #problem(column: number, message: string): Problem {
    return { file: this.#options.file, line: this.#line, column, key: "", message };
  }

  #summarise(problems: Problem[], count: number, what: string): void {
    if (count <= problems.length) return;
    problems.push(this.#problem(1, `the file has ${count - problems.length} more ${what}`));
  }
}

/** Where in a line MapCounter is. */
const BEFORE_NAME = 0;
const IN_NAME = 1;
const BEHIND_NAME = 2;

/** Upper bounds of what map files add to a table, from their bytes in chunks: for the builder's capacity. */
export class MapCounter implements Capacity {
  /** Lines that have something other than a comment. */
  names = 0;
  /** Bytes of their first fields. */
  nameBytes = 0;
  #state: number = BEFORE_NAME;

  push(chunk: Uint8Array): void {
    let state = this.#state;
    let names = 0;
    let nameBytes = 0;
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i];
      if (byte === LF) {
        state = BEFORE_NAME;
      } else if (state === IN_NAME) {
        if (byte === SPACE || byte === TAB) state = BEHIND_NAME;
        else nameBytes++;
      } else if (state === BEFORE_NAME && byte === HASH) {
        state = BEHIND_NAME;
      } else if (state === BEFORE_NAME && byte !== SPACE && byte !== TAB) {
        state = IN_NAME;
        names++;
        nameBytes++;
      }
    }
    this.#state = state;
    this.names += names;
    this.nameBytes += nameBytes;
  }

  /** The file has ended; the next one may follow. */
  end(): void {
    this.#state = BEFORE_NAME;
  }
}

function skipBlanks(bytes: Uint8Array, at: number, end: number): number {
  while (at < end && (bytes[at] === SPACE || bytes[at] === TAB)) at++;
  return at;
}

function fieldEnd(bytes: Uint8Array, at: number, end: number): number {
  while (at < end && bytes[at] !== SPACE && bytes[at] !== TAB) at++;
  return at;
}

function decode(bytes: Uint8Array, start: number, end: number): string {
  return decoder.decode(bytes.subarray(start, end));
}

function text(bytes: Uint8Array, start: number, end: number): string {
  return quote(decode(bytes, start, end));
}
