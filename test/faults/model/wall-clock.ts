/** The wall clock of all processes of a scene: clock.c. */
import { closeSync, mkdtempSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { compileLibrary } from "../../support/compile.js";

export class WallClock {
  /** For every process that is to have it. */
  readonly environment: Readonly<Record<string, string>>;
  private readonly file: number;

  constructor(folder: string) {
    const own = mkdtempSync(join(folder, "clock-"));
    const path = join(own, "seconds");
    writeFileSync(path, Buffer.alloc(8));
    this.file = openSync(path, "r+");
    const library = compileLibrary(new URL("./clock.c", import.meta.url), own);
    this.environment = { LD_PRELOAD: library, SNI_HANDOFF_TEST_CLOCK: path };
  }

  /** From now on it is so many seconds off. */
  set(seconds: number): void {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(seconds));
    writeSync(this.file, bytes, 0, 8, 0);
  }

  close(): void {
    closeSync(this.file);
  }
}
